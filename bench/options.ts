import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { KpopError, type ComputeDtype, type Device, type Shard } from "../lib/index";
import { findShard, FormError, readShard } from "../lib/internal";
import { newCommand, parseCommand } from "./command";
import { COMPARED, ROWS } from "./entrants";
import { integer, listOf, number, oneOf, refuse } from "./flags";
import { protocolNamed } from "./protocols";
import { EXPERIMENTS, type Experiment, type Settings } from "./results";
import { ROOT } from "./root";

/** What `npm run bench` was asked for. */
export interface CompareOptions {
  settings: Settings;
  out: string;
  jobs: number;
  /** The part of the trials that this process measures; undefined for all, and the report. */
  shard: Shard | undefined;
  /** Write the report from the results that are there, and run nothing. */
  reportOnly: boolean;
}

interface Flags {
  quick: boolean;
  model: string;
  classifier?: string;
  styleClassifier?: string;
  clip?: string;
  methods: string[];
  experiments?: Experiment[];
  imagesPerClass?: number;
  steps?: number;
  guidanceScale?: number;
  seed: number;
  device: Device;
  dtype: ComputeDtype;
  jobs?: number;
  shard?: Shard;
  out?: string;
  report: boolean;
}

/** Stands for every row in --methods. */
const ALL = "all";
/** What every method of the registry is compared in, in hours. */
const FOR_ALL: readonly Experiment[] = ["objects", "robustness"];

const command = () =>
  newCommand("npm run bench --", "Compares the methods; interrupted, the same command goes on.")
    .option("--quick", "few iterations and pictures: does everything work?", false)
    .option("--model <path>", "a checkpoint; others than pocket, the built-in one, need --classifier", "pocket")
    .option("--classifier <path>", "a ResNet: torchvision's safetensors, or a folder (see the README)")
    .option("--style-classifier <path>", "a ResNet whose classes are the styles")
    .option("--clip <path>", "a CLIP folder, for CLIP scores")
    .option("--methods <list>", `of ${ROWS.join(", ")}; or all, then objects and robustness`, listOf("--methods", [...ROWS, ALL]), [...COMPARED])
    .option("--experiments <list>", `of ${EXPERIMENTS.join(", ")}; default all, but with --methods all`, listOf("--experiments", EXPERIMENTS))
    .option("--images-per-class <n>", "pictures for each class", integer("--images-per-class", 1))
    .option("--steps <n>", "denoising steps of each", integer("--steps", 1))
    .option("--guidance-scale <x>", "their guidance", number("--guidance-scale", 1))
    .option("--seed <n>", "of everything", integer("--seed", 0), 0)
    .option("--device <name>", "auto, cpu, cuda, cuda:0", device, "auto")
    .option("--dtype <name>", "float32, bfloat16 or float16", oneOf("--dtype", ["float32", "bfloat16", "float16"]), "float32")
    .option("--jobs <n>", "trials at a time; default 2 with pocket, else and in a shard 1", integer("--jobs", 1))
    .option("--shard <i/n>", "measure part i of n, 0/n to n-1/n; default what torchrun, Slurm or Kubernetes says", shard)
    .option("--out <dir>", "default bench/results/DATE, with -quick for a quick run")
    .option("--report", "write the report again from what is finished", false)
    .addHelpText("after", "\nnpm run bench -- speed --help tells of the other benchmark: speed against Python."); // prettier-ignore

/** @throws INVALID_ARGUMENT naming the option; CommanderError with exit code 0 once the help is printed */
export function parseOptions(args: readonly string[], today: string): CompareOptions {
  const parsed = command();
  parseCommand(parsed, args);
  const flags = parsed.opts<Flags>();
  const { quick, model } = flags;
  const builtIn = model === "pocket";
  const everything = flags.methods.includes(ALL);
  const protocol = protocolNamed(builtIn ? "pocket" : "stable-diffusion");
  if (!builtIn && flags.classifier === undefined) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      "Expected --classifier with a model other than pocket: a ResNet-50 with torchvision's keys as .safetensors",
    );
  }
  const { defaults } = protocol;
  const settings: Settings = {
    protocol: protocol.name,
    quick,
    model,
    device: flags.device,
    dtype: flags.dtype,
    classifier: flags.classifier ?? "pocket",
    styleClassifier: flags.styleClassifier ?? (builtIn ? builtInPart("style-classifier") : null),
    clip: flags.clip ?? (builtIn ? builtInPart("clip") : null),
    styles: [...(protocol.styles?.names ?? [])],
    methods: everything ? [...ROWS] : flags.methods,
    experiments: flags.experiments ?? [...(everything ? FOR_ALL : EXPERIMENTS)],
    imagesPerClass: flags.imagesPerClass ?? (quick ? protocol.quick : defaults).imagesPerClass,
    steps: flags.steps ?? defaults.steps,
    guidanceScale: flags.guidanceScale ?? defaults.guidanceScale,
    seed: flags.seed,
  };
  const found = flags.shard ?? findShard(process.env);
  const part =
    found === undefined || found.count === 1 ? undefined : { index: found.index, count: found.count };
  return {
    settings,
    shard: part,
    out: flags.out ?? join("bench", "results", quick ? `${today}-quick` : today),
    jobs: flags.jobs ?? (builtIn && part === undefined ? Math.min(2, availableParallelism()) : 1),
    reportOnly: flags.report,
  };
}

/** A network that comes with the built-in model, where it is there. */
function builtInPart(name: string): string | null {
  const path = join(ROOT, "models", "pocket", name);
  return existsSync(path) ? relative(".", path) : null;
}

function shard(value: string): Shard {
  try {
    return readShard(value);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    return refuse("--shard", error.message.replace(/^Expected (.*)\.$/, "$1"), value);
  }
}

function device(value: string): Device {
  return /^(auto|cpu|cuda(:\d+)?)$/.test(value)
    ? (value as Device)
    : refuse("--device", "auto, cpu, cuda or cuda:0 and so on", value);
}

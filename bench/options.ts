import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { KpopError, METHOD_NAMES, type Device } from "../lib/index";
import { protocolNamed } from "./protocols";
import { EXPERIMENTS, type Settings } from "./results";

/** What `npm run bench` was asked for. */
export interface CompareOptions {
  settings: Settings;
  out: string;
  jobs: number;
  /** Write the report from the results that are there, and run nothing. */
  reportOnly: boolean;
}

export const HELP = `npm run bench -- [OPTION ...]        compare the methods; interrupted, the same command goes on
npm run bench -- speed [TRIAL ...]   speed against Python (see bench/speed)

  --quick                  few iterations and pictures: does everything work?
  --model PATH             a checkpoint; default pocket, the built-in one. Others need --classifier
  --classifier PATH        a ResNet: torchvision's safetensors, or a folder (see the README)
  --style-classifier PATH  a ResNet whose classes are the styles
  --clip PATH              a CLIP folder, for CLIP scores
  --methods LIST           of ${METHOD_NAMES.join(", ")}; default all of the paper's that exist
  --experiments LIST       of ${EXPERIMENTS.join(", ")}; default all
  --images-per-class N     pictures for each class
  --steps N                denoising steps of each
  --guidance-scale X       their guidance
  --seed N                 of everything; default 0
  --device NAME            auto, cpu, cuda, cuda:0; default auto
  --dtype NAME             float32, bfloat16 or float16; default float32
  --jobs N                 trials at a time; default 2 with pocket, else 1
  --out DIR                default bench/results/DATE, with -quick for a quick run
  --report                 write the report again from what is finished
`;

/** The methods of the paper's tables, the paper's own first. */
const COMPARED = ["kpop", "esd", "uce", "ca"];

/** @throws INVALID_ARGUMENT naming the option */
export function parseOptions(args: readonly string[], today: string): CompareOptions {
  const { values } = parse(args);
  const model = values.model ?? "pocket";
  const builtIn = model === "pocket";
  const protocol = protocolNamed(builtIn ? "pocket" : "stable-diffusion");
  const quick = values.quick ?? false;
  if (!builtIn && values.classifier === undefined) {
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
    device: device(values.device ?? "auto"),
    dtype: oneOf("--dtype", values.dtype ?? "float32", ["float32", "bfloat16", "float16"] as const),
    classifier: values.classifier ?? "pocket",
    styleClassifier: values["style-classifier"] ?? (builtIn ? builtInPart("style-classifier") : null),
    clip: values.clip ?? (builtIn ? builtInPart("clip") : null),
    styles: [...(protocol.styles?.names ?? [])],
    methods: list("--methods", values.methods, METHOD_NAMES) ?? available(),
    experiments: list("--experiments", values.experiments, EXPERIMENTS) ?? [...EXPERIMENTS],
    imagesPerClass: count(
      "--images-per-class",
      values["images-per-class"],
      quick ? protocol.quick.imagesPerClass : defaults.imagesPerClass,
      1,
    ),
    steps: count("--steps", values.steps, defaults.steps, 1),
    guidanceScale: number("--guidance-scale", values["guidance-scale"], defaults.guidanceScale),
    seed: count("--seed", values.seed, 0, 0),
  };
  return {
    settings,
    out: values.out ?? join("bench", "results", quick ? `${today}-quick` : today),
    jobs: count("--jobs", values.jobs, builtIn ? Math.min(2, availableParallelism()) : 1, 1),
    reportOnly: values.report ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      options: {
        quick: { type: "boolean" },
        model: { type: "string" },
        classifier: { type: "string" },
        "style-classifier": { type: "string" },
        clip: { type: "string" },
        methods: { type: "string" },
        experiments: { type: "string" },
        "images-per-class": { type: "string" },
        steps: { type: "string" },
        "guidance-scale": { type: "string" },
        seed: { type: "string" },
        device: { type: "string" },
        dtype: { type: "string" },
        jobs: { type: "string" },
        out: { type: "string" },
        report: { type: "boolean" },
      },
    });
  } catch (error) {
    throw new KpopError("INVALID_ARGUMENT", `${(error as Error).message}; --help lists the options`);
  }
}

/** A network that comes with the built-in model, where it is there. */
function builtInPart(name: string): string | null {
  const path = join(__dirname, "..", "models", "pocket", name);
  return existsSync(path) ? relative(".", path) : null;
}

function available(): string[] {
  return COMPARED.filter((method) => METHOD_NAMES.includes(method));
}

function list<T extends string>(
  option: string,
  value: string | undefined,
  known: readonly T[],
): T[] | undefined {
  return value?.split(",").map((item) => oneOf(option, item.trim(), known));
}

function oneOf<T extends string>(option: string, value: string, known: readonly T[]): T {
  const found = known.find((name) => name === value);
  if (found !== undefined) return found;
  throw new KpopError("INVALID_ARGUMENT", `Expected ${option} to be among ${known.join(", ")} but received "${value}"`); // prettier-ignore
}

function device(value: string): Device {
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(value)) return value as Device;
  throw new KpopError("INVALID_ARGUMENT", `Expected --device to be auto, cpu, cuda or cuda:0 and so on but received "${value}"`); // prettier-ignore
}

function count(option: string, value: string | undefined, otherwise: number, minimum: number): number {
  if (value === undefined) return otherwise;
  if (/^\d+$/.test(value) && Number(value) >= minimum) return Number(value);
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${option} to be an integer >= ${minimum} but received "${value}"`,
  );
}

function number(option: string, value: string | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  const parsed = Number(value);
  if (value.trim() !== "" && Number.isFinite(parsed) && parsed >= 1) return parsed;
  throw new KpopError("INVALID_ARGUMENT", `Expected ${option} to be a number >= 1 but received "${value}"`);
}

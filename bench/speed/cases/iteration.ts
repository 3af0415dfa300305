import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, StableDiffusion, type EraseOptions } from "../../../lib/index";
import { defaultsOf, knownTo, METHOD_NAMES, titleOf, type Options } from "../../entrants";
import { writeFullSize } from "../../gpu/full-size";
import { KPOP_FORMS } from "../../kpop-forms";
import { peakBytes } from "../../machine";
import { median } from "../../statistics";
import type { Measurement, SpeedCase } from "../case";

/** The random weights of Stable Diffusion 1.4's architecture, which both sides read. */
const FOLDER = join(tmpdir(), "kpop-bench-full-size");
/** The first iteration fills caches and lays weights out. */
const WARMUP = 1;
const TIMED = 2;
/** Iterations of the built-in model that evaluations are counted in: the difference is free of what comes before them. */
const COUNTED = [20, 60] as const;
/** What the peer does, too. */
const WITH_PEER = ["esd", "ca"];

/**
 * UNet evaluations that the authors' code spends on an iteration of batch 1, counted in it: a trajectory up to a random one
 * of 50 steps takes 25.48 guided ones on average, 51 evaluations.
 */
const PUBLISHED: Readonly<Record<string, number>> = {
  kpop: 56, // an iteration of the paper: a trajectory, and five
  esd: 54,
  ca: 8, // two for each of four pictures
  sdd: 53,
  fmn: 1,
  eap: 214, // two passes, each with two trajectories
  age: 214,
  race: 66, // a trajectory, and the search's
};

/** An iteration of each method that trains, nothing kept beside; then KPOP's by its prompt's form. */
export function iterationCases(): SpeedCase[] {
  // KPOP stands above them; no update of SAeUron's runs the UNet.
  const training = METHOD_NAMES.filter(
    (method) => "iterations" in defaultsOf(method) && !["kpop", "saeuron"].includes(method),
  );
  return [
    ...Object.entries(KPOP_FORMS).map(([name, { title, options, peer }]) =>
      iterationCase(name, title, options, peer),
    ),
    ...training.map((method) =>
      iterationCase(method, titleOf(method), { method }, WITH_PEER.includes(method)),
    ),
  ];
}

function iterationCase(
  name: string,
  title: string,
  own: { method: string } & Options,
  peer: boolean,
): SpeedCase {
  const { method } = own;
  const trial = {
    method,
    model: FOLDER,
    device: "cpu",
    dtype: "float32",
    warmup: WARMUP,
    iterations: TIMED,
    speed: "iteration",
  };
  return {
    name: `iteration-${name}`,
    title: `an iteration at SD-1.4's size, 64×64 latents: ${title}`,
    prepare: writeCheckpoint,
    run: () => measure(own),
    ...(peer ? { peer: { script: "../../gpu/peers/methods.py", arguments: [JSON.stringify(trial)] } } : {}),
  };
}

async function writeCheckpoint(): Promise<void> {
  if (!existsSync(join(FOLDER, "model_index.json"))) await writeFullSize(FOLDER);
}

async function measure(own: { method: string } & Options): Promise<Measurement> {
  const { method } = own;
  const folder = await mkdtemp(join(tmpdir(), "kpop-bench-iteration-"));
  const options = (iterations: number): Options => ({
    concepts: "church",
    neighbours: "off",
    ...knownTo(method, { learningRate: 1e-5, poolSize: 1, iterations }),
    // Few pictures to learn from, and short stages before the last. The mask's are those of the loss that it is not run with.
    ...(method === "prune" ? {} : knownTo(method, { anchor: "castle", images: 4 })),
    ...knownTo(method, { augment: false, searchIterations: 1, inversionIterations: 1 }),
    ...knownTo(method, { modulationIterations: 1, invert: false, plain: 0, margin: 1e-5 }),
    // What makes pictures for it takes no minutes.
    ...("images" in defaultsOf(method) && method !== "prune"
      ? { samplingSteps: 2, cacheDirectory: join(folder, String(iterations)) }
      : {}),
    ...own,
  });
  try {
    const evaluations = await evaluationsOf(options);
    using model = await StableDiffusion.load(FOLDER, { dtype: "float32" });
    const seconds: number[] = [];
    const processor: number[] = [];
    let last: { now: number; used: NodeJS.CpuUsage } | undefined;
    const erasure = await erase(model, {
      ...options(WARMUP + TIMED),
      // Nor do trajectories, whose first ones come before the iterations.
      ...knownTo(method, { samplingSteps: 2 }),
      // A step ends when its losses have been read.
      onStep() {
        const now = performance.now();
        if (last !== undefined) {
          const { user, system } = process.cpuUsage(last.used);
          seconds.push((now - last.now) / 1000);
          processor.push((user + system) / 1e6);
        }
        console.error(`${method}: ${seconds.length + 1} done`);
        last = { now, used: process.cpuUsage() };
      },
    } as unknown as EraseOptions);
    erasure.dispose();
    const published = PUBLISHED[method];
    return {
      // Stages before the last have iterations of their own.
      seconds: { iteration: median(seconds.slice(-TIMED)) },
      figures: {
        "UNet evaluations": evaluations,
        // Of all threads: what other programs take of the processor is not in it.
        "processor seconds": median(processor.slice(-TIMED)),
        ...(published === undefined ? {} : { "UNet evaluations of the authors' code": published }),
      },
      peakBytes: peakBytes(),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Evaluations of an iteration, counted on the built-in model. @param options of runs that share no pictures */
async function evaluationsOf(options: (iterations: number) => Options): Promise<number> {
  using pocket = await StableDiffusion.load("pocket", { dtype: "float32" });
  const counts: number[] = [];
  for (const iterations of COUNTED) {
    using erasure = await erase(pocket, options(iterations) as unknown as EraseOptions);
    counts.push(erasure.manifest.unetEvaluations);
  }
  return (counts[1]! - counts[0]!) / (COUNTED[1] - COUNTED[0]);
}

/** How long an iteration of each method takes, and a denoising step. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, StableDiffusion, type EraseOptions } from "../../lib/index";
import { defaultsOf, knownTo, type Options } from "../entrants";
import { peakBytes } from "../machine";
import { median } from "../statistics";
import { GENERATE, type Assignment, type Timing } from "./assignment";

type MethodAssignment = Extract<Assignment, { step: "methods" }>;

/** Iterations of the run that warms up: kernels are chosen, memory is taken. */
const WARMUP = 3;
const REPEATS = 3;
/** Steps of the shorter pictures; the difference to longer ones is free of encoding, decoding and reading. */
const FEW_STEPS = 5;

export async function timeMethod(assignment: MethodAssignment): Promise<Timing> {
  const { method, model: path, device, dtype, iterations } = assignment;
  const model = await StableDiffusion.load(path, { device, dtype });
  const folder = await mkdtemp(join(tmpdir(), "kpop-gpu-methods-"));
  try {
    if (method === GENERATE) return await timeGeneration(model, iterations);
    const options = (run: string): Options => optionsOf(method, join(folder, run));
    return "iterations" in defaultsOf(method)
      ? await timeIterations(model, options, iterations)
      : await timeRuns(model, options);
  } finally {
    model.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The library's defaults. A method that learns from pictures has as many as a batch, held as latents, and no augmentation
 * to spoil them; a closed form has something to preserve. Neighbours, which no peer has, are off.
 */
function optionsOf(method: string, folder: string): Options {
  const defaults = defaultsOf(method);
  const pictures = { images: 4, samplingSteps: 2, augment: false, cacheDirectory: folder };
  return {
    method,
    concepts: "church",
    neighbours: "off",
    ...knownTo(method, { learningRate: 1e-5, promptLearningRate: 1e-3, anchor: "castle", guide: "castle" }),
    ...("images" in defaults ? knownTo(method, pictures) : {}),
    ...("iterations" in defaults ? {} : { preserve: ["dog", "radio"] }),
  };
}

/** A step ends when its losses have been read, so the clock sees finished work. */
async function timeIterations(
  model: StableDiffusion,
  options: (run: string) => Options,
  iterations: number,
): Promise<Timing> {
  const before = await evaluationsOf(model, { ...options("warm-up"), iterations: WARMUP });
  const seconds: number[] = [];
  let last: number | undefined;
  const after = await evaluationsOf(model, {
    ...options("timed"),
    iterations: WARMUP + iterations,
    onStep({ iteration }: { iteration: number }) {
      const now = performance.now();
      if (last !== undefined && iteration > WARMUP) seconds.push((now - last) / 1000);
      last = now;
    },
  });
  // Both runs fill the same pool, or make the same pictures, so that cost drops out.
  return timing("iteration", seconds, (after - before) / iterations);
}

async function timeRuns(model: StableDiffusion, options: (run: string) => Options): Promise<Timing> {
  const seconds: number[] = [];
  let evaluations = 0;
  for (let i = -1; i < REPEATS; i++) {
    const start = performance.now();
    evaluations = await evaluationsOf(model, options(String(i)));
    if (i >= 0) seconds.push((performance.now() - start) / 1000);
  }
  return timing("run", seconds, evaluations);
}

/** Erases, and says what it took. */
async function evaluationsOf(model: StableDiffusion, options: Options): Promise<number> {
  using erasure = await erase(model, options as unknown as EraseOptions);
  return erasure.manifest.unetEvaluations;
}

async function timeGeneration(model: StableDiffusion, steps: number): Promise<Timing> {
  const seconds = async (count: number): Promise<number> => {
    const start = performance.now();
    await model.generate("a photo of a church", { steps: count, sampler: "ddim", seed: 0 });
    return (performance.now() - start) / 1000;
  };
  await seconds(FEW_STEPS);
  const perStep: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    const short = await seconds(FEW_STEPS);
    perStep.push(((await seconds(FEW_STEPS + steps)) - short) / steps);
  }
  return timing("step", perStep, 2);
}

function timing(of: Timing["of"], seconds: readonly number[], evaluations: number): Timing {
  return { of, seconds: median(seconds), repeats: seconds.length, evaluations, hostBytes: peakBytes() };
}

/** How long an iteration of each method takes, and a denoising step. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, StableDiffusion, type EraseOptions } from "../../lib/index";
import { defaultsOf, knownTo, type Options } from "../entrants";
import { KPOP_FORMS } from "../kpop-forms";
import { peakBytes } from "../machine";
import { median } from "../statistics";
import { GENERATE, WHOLE, type Assignment, type Timing } from "./assignment";

type MethodAssignment = Extract<Assignment, { step: "methods" }>;

/** Iterations of the run that warms up: kernels are chosen, memory is taken. */
const WARMUP = 3;
const REPEATS = 3;
const WHOLE_ITERATIONS = 1000;
/** Steps of the shorter pictures; the difference to longer ones is free of encoding, decoding and reading. */
const FEW_STEPS = 5;

/** What is timed: KPOP's forms, its rivals, a denoising step, and KPOP whole. And whether the peer does it too. */
export const TIMED: Readonly<Record<string, { peer: boolean }>> = {
  ...KPOP_FORMS,
  esd: { peer: true },
  [GENERATE]: { peer: true },
  uce: { peer: true },
  ca: { peer: true },
  [WHOLE]: { peer: false },
};

/** The registered method behind a name of `TIMED`. */
export function methodBehind(name: string): string {
  return name.startsWith("kpop") ? "kpop" : name;
}

export async function timeMethod(assignment: MethodAssignment): Promise<Timing> {
  const { method, model: path, device, dtype, iterations } = assignment;
  const model = await StableDiffusion.load(path, { device, dtype });
  const folder = await mkdtemp(join(tmpdir(), "kpop-gpu-methods-"));
  try {
    if (method === GENERATE) return await timeGeneration(model, iterations);
    const options = (run: string): Options => optionsOf(method, join(folder, run));
    if (method === WHOLE) return await timeWhole(model, options("whole"));
    return "iterations" in defaultsOf(methodBehind(method))
      ? await timeIterations(model, options, iterations)
      : await timeRuns(model, options);
  } finally {
    model.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The library's defaults, or the form's. A method that learns from pictures has as many as a batch, held as latents, and no augmentation
 * to spoil them; a closed form has something to preserve. Neighbours, which no peer has, are off but in KPOP's own form.
 */
function optionsOf(name: string, folder: string): Options {
  const method = methodBehind(name);
  const form = KPOP_FORMS[name === WHOLE ? "kpop-neighbours" : name];
  const defaults = defaultsOf(method);
  const pictures = { images: 4, samplingSteps: 2, augment: false, cacheDirectory: folder };
  return {
    method,
    concepts: "church",
    neighbours: "off",
    ...knownTo(method, { learningRate: 1e-5, promptLearningRate: 1e-3, anchor: "castle", guide: "castle" }),
    ...("images" in defaults ? knownTo(method, pictures) : {}),
    ...("iterations" in defaults ? {} : { preserve: ["dog", "radio"] }),
    ...form?.options,
  };
}

/** A step is told of when its losses have been read, so the clock sees finished work: on a GPU of several steps at once. */
async function timeIterations(
  model: StableDiffusion,
  options: (run: string) => Options,
  iterations: number,
): Promise<Timing> {
  const before = await evaluationsOf(model, { ...options("warm-up"), iterations: WARMUP });
  let told: { iteration: number; seconds: number }[] = [];
  const after = await evaluationsOf(model, {
    ...options("timed"),
    iterations: WARMUP + iterations,
    onStep({ iteration, seconds }: { iteration: number; seconds: number }) {
      // Of the steps that were read together the last one has that time.
      if (told.at(-1)?.seconds === seconds) told.pop();
      told.push({ iteration, seconds });
    },
  });
  told = told.filter(({ iteration }) => iteration >= WARMUP);
  const seconds = told
    .slice(1)
    .map((each, index) => (each.seconds - told[index]!.seconds) / (each.iteration - told[index]!.iteration));
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

/** An erasure from its call to its end, texts and neighbours included. */
async function timeWhole(model: StableDiffusion, options: Options): Promise<Timing> {
  await evaluationsOf(model, { ...options, iterations: WARMUP });
  const start = performance.now();
  const evaluations = await evaluationsOf(model, { ...options, iterations: WHOLE_ITERATIONS });
  return timing("run", [(performance.now() - start) / 1000], evaluations);
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

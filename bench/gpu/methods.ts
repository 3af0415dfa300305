/** How long an iteration of each method takes, and a denoising step. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  erase,
  StableDiffusion,
  type CaOptions,
  type Erasure,
  type EsdOptions,
  type KpopOptions,
} from "../../lib/index";
import { median, peakBytes } from "../speed/trial";
import type { Assignment, Method, Timing } from "./assignment";

type TrainedOptions = KpopOptions | EsdOptions | CaOptions;
type MethodAssignment = Extract<Assignment, { step: "methods" }>;

/** Iterations of the run that warms up: kernels are chosen, memory is taken. */
const WARMUP = 3;
const REPEATS = 3;
/** Steps of the shorter pictures; the difference to longer ones is free of encoding, decoding and reading. */
const FEW_STEPS = 5;

export async function timeMethod({
  method,
  model: path,
  device,
  dtype,
  iterations,
}: MethodAssignment): Promise<Timing> {
  const model = await StableDiffusion.load(path, { device, dtype });
  const folder = await mkdtemp(join(tmpdir(), "kpop-gpu-methods-"));
  try {
    if (method === "generate") return await timeGeneration(model, iterations);
    if (method === "uce") return await timeUce(model);
    return await timeIterations(model, (run) => optionsOf(method, join(folder, run)), iterations);
  } finally {
    model.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The library's defaults. CA has as many pictures as a batch, held as latents, and no augmentation to spoil them. */
function optionsOf(method: Exclude<Method, "uce" | "generate">, folder: string): TrainedOptions {
  const common = { concepts: "church", learningRate: 1e-5 };
  switch (method) {
    case "kpop":
      return { ...common, method, promptLearningRate: 1e-3 };
    case "esd":
      return { ...common, method };
    case "ca":
      return {
        ...common,
        method,
        anchor: "castle",
        images: 4,
        samplingSteps: 2,
        augment: false,
        cacheDirectory: folder,
      };
  }
}

/** A step ends when its losses have been read, so the clock sees finished work. */
async function timeIterations(
  model: StableDiffusion,
  options: (run: string) => TrainedOptions,
  iterations: number,
): Promise<Timing> {
  const before = await evaluationsOf(erase(model, { ...options("warm-up"), iterations: WARMUP }));
  const seconds: number[] = [];
  let last: number | undefined;
  const after = await evaluationsOf(
    erase(model, {
      ...options("timed"),
      iterations: WARMUP + iterations,
      onStep({ iteration }) {
        const now = performance.now();
        if (last !== undefined && iteration > WARMUP) seconds.push((now - last) / 1000);
        last = now;
      },
    }),
  );
  // Both runs fill the same pool, or make the same pictures, so that cost drops out.
  const evaluations = (after - before) / iterations;
  return { seconds: median(seconds), repeats: seconds.length, evaluations, hostBytes: peakBytes() };
}

async function evaluationsOf(run: Promise<Erasure>): Promise<number> {
  const erasure = await run;
  erasure.dispose();
  return erasure.manifest.unetEvaluations;
}

async function timeUce(model: StableDiffusion): Promise<Timing> {
  const seconds: number[] = [];
  for (let i = -1; i < REPEATS; i++) {
    const start = performance.now();
    const erasure = await erase(model, {
      method: "uce",
      concepts: "church",
      guide: "castle",
      preserve: ["dog", "radio"],
    });
    if (i >= 0) seconds.push((performance.now() - start) / 1000);
    erasure.dispose();
  }
  return { seconds: median(seconds), repeats: REPEATS, evaluations: 0, hostBytes: peakBytes() };
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
  return { seconds: median(perStep), repeats: REPEATS, evaluations: 2, hostBytes: peakBytes() };
}

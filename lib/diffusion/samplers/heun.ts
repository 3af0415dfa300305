import { knownKeys } from "../../check";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { matchFreshNoise, nextIndex, refuse } from "./sampler";
import { sigmaLevels, type SigmaLevels } from "./sigmas";

/**
 * Heun's method on dx/dσ = ε (Karras et al., arXiv 2206.00364, algorithm 1 without churn): a step takes the mean of the
 * slopes at its two ends, and so two evaluations; the last goes to σ = 0 and takes one. `steps` cost 2·steps − 1. As in
 * diffusers, it goes by levels that do not end at 0, whatever the config says.
 */
export const heun: Sampler = {
  name: "heun",
  timesteps: (schedule, steps) => twiceButFirst(sigmaLevels(schedule.unmoved, steps).timesteps),
  create: (schedule, steps, options) => new HeunRun(schedule, steps, options),
};

function twiceButFirst([first, ...rest]: readonly number[]): number[] {
  return [first!, ...rest.flatMap((timestep) => [timestep, timestep])];
}

class HeunRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly steps: readonly number[];
  readonly initialScale: number;
  readonly stochastic = false;
  readonly #levels: SigmaLevels;
  /** Where the step began, and the slope there. */
  #start: { readonly latents: T; readonly slope: T } | undefined;
  #done = 0;

  constructor(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse("heun", "eta", options.eta);
    const levels = sigmaLevels(schedule.unmoved, steps);
    this.timesteps = twiceButFirst(levels.timesteps);
    this.steps = this.timesteps.map((_, index) => index >> 1);
    this.initialScale = levels.initialScale;
    this.#levels = levels;
  }

  get retained(): readonly T[] {
    return this.#start === undefined ? [] : [this.#start.latents, this.#start.slope];
  }

  scaleInput(index: number, latents: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    return latents.mul(1 / Math.hypot(this.#levels.sigmas[(index + 1) >> 1]!, 1));
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    matchFreshNoise("heun", false, random);
    this.#done++;
    const step = this.steps[index]!;
    const length = this.#levels.sigmas[step + 1]! - this.#levels.sigmas[step]!;
    const here = this.#levels.slopes[(index + 1) >> 1]!;
    const slope = linear([
      [here.latents, latents],
      [here.prediction, prediction],
    ]);
    const start = this.#start;
    if (start !== undefined) {
      this.#start = undefined;
      return linear([
        [1, start.latents],
        [length / 2, start.slope],
        [length / 2, slope],
      ]);
    }
    if (this.steps[index + 1] === step) this.#start = { latents, slope };
    return linear([
      [1 + length * here.latents, latents],
      [length * here.prediction, prediction],
    ]);
  }
}

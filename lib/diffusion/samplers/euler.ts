import { knownKeys } from "../../check";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { nextIndex, refuse, spacedTimesteps } from "./sampler";

/**
 * Euler's method on dx/dσ = ε in the variance-exploding view x = z/√ᾱ, σ = √((1−ᾱ)/ᾱ) (Karras et al., arXiv
 * 2206.00364 algorithm 1 without churn); its last step goes to σ = 0. As in diffusers, timesteps are spread from T−1 to 0
 * (linspace) and stay fractions, unless the schedule names another spacing.
 */
export const euler: Sampler = {
  name: "euler",
  timesteps: eulerTimesteps,
  create: (schedule, steps, options) => new EulerRun(schedule, steps, options),
};

function eulerTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  return spacedTimesteps(schedule, steps, "linspace");
}

class EulerRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly initialScale: number;
  readonly stochastic = false;
  readonly retained: readonly T[] = [];
  /** One more than timesteps: the last is 0. */
  readonly #sigmas: readonly number[];
  #done = 0;

  constructor(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse("euler", "eta", options.eta);
    this.timesteps = eulerTimesteps(schedule, steps);
    this.#sigmas = [...this.timesteps.map((t) => schedule.sigma(t)), 0];
    // Only leading timesteps leave noise above the first level out of account, which diffusers makes up for.
    const leading = schedule.config.timestepSpacing === "leading";
    this.initialScale = leading ? Math.hypot(this.#sigmas[0]!, 1) : this.#sigmas[0]!;
  }

  scaleInput(index: number, latents: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    return latents.mul(1 / Math.hypot(this.#sigmas[index]!, 1));
  }

  step(index: number, latents: T, noise: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    refuse("euler", "fresh noise", random);
    this.#done++;
    return linear([
      [1, latents],
      [this.#sigmas[index + 1]! - this.#sigmas[index]!, noise],
    ]);
  }
}

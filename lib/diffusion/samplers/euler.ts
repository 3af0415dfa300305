import { knownKeys } from "../../check";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, refuse } from "./sampler";
import { sigmaLevels, type SigmaLevels } from "./sigmas";

/** Euler's method on dx/dσ = ε (Karras et al., arXiv 2206.00364, algorithm 1 without churn); its last step goes to σ = 0. */
export const euler: Sampler = {
  name: "euler",
  timesteps: (schedule, steps) => [...sigmaLevels(schedule, steps).timesteps],
  create: (schedule, steps, options) => new EulerRun("euler", schedule, steps, options),
};

/**
 * Ancestral sampling with Euler's steps (k-diffusion's `sample_euler_ancestral`): each step goes below its level, by as much
 * as DDPM's posterior leaves random, and fresh noise brings it back.
 */
export const eulerAncestral: Sampler = {
  name: "euler-ancestral",
  timesteps: euler.timesteps,
  create: (schedule, steps, options) => new EulerRun("euler-ancestral", schedule, steps, options),
};

class EulerRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly steps: readonly number[];
  readonly initialScale: number;
  readonly stochastic: boolean;
  readonly retained: readonly T[] = [];
  readonly #levels: SigmaLevels;
  #done = 0;

  constructor(
    private readonly name: "euler" | "euler-ancestral",
    schedule: NoiseSchedule,
    steps: number,
    options: SamplerOptions = {},
  ) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse(name, "eta", options.eta);
    this.#levels = sigmaLevels(schedule, steps);
    this.timesteps = this.#levels.timesteps;
    this.steps = eachItsOwn(this.timesteps);
    this.initialScale = this.#levels.initialScale;
    this.stochastic = name === "euler-ancestral";
  }

  scaleInput(index: number, latents: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    return latents.mul(1 / Math.hypot(this.#levels.sigmas[index]!, 1));
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    matchFreshNoise(this.name, this.stochastic, random);
    this.#done++;
    const [sigma, next] = this.#levels.sigmas.slice(index, index + 2) as [number, number];
    const up = this.stochastic ? next * Math.sqrt(1 - (next / sigma) ** 2) : 0;
    const down = this.stochastic ? next ** 2 / sigma : next;
    const slope = this.#levels.slopes[index]!;
    return linear([
      [1 + (down - sigma) * slope.latents, latents],
      [(down - sigma) * slope.prediction, prediction],
      ...(random === undefined ? [] : [[up, random] as const]),
    ]);
  }
}

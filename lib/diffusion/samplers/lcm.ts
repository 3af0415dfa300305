import { integer, knownKeys } from "../../check";
import { KpopError } from "../../errors";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import { cleanMixture } from "../prediction-type";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, refuse } from "./sampler";

/** σ_data of the boundary condition. */
const SIGMA_DATA = 0.5;

/**
 * Multistep sampling of a latent consistency model (Luo et al., arXiv 2310.04378, algorithm 3): each step takes the network's
 * consistency function to a clean picture, c_skip(t) z + c_out(t) x̂₀, and adds fresh noise up to the next level. Its
 * timesteps are some of the `lcmOriginalSteps` that the model was distilled on.
 */
export const lcm: Sampler = {
  name: "lcm",
  timesteps: lcmTimesteps,
  create: (schedule, steps, options) => new LCMRun(schedule, steps, options),
};

function lcmTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  const { lcmOriginalSteps: most = 50 } = schedule.config;
  integer("steps", steps, 1);
  if (steps > most)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected steps to be at most ${most} for the sampler "lcm", the steps that its model was distilled on, but received ${steps}; 4 to 8 are usual`,
    );
  const stride = Math.floor(schedule.length / most);
  return Array.from({ length: steps }, (_, i) => (most - Math.floor((i * most) / steps)) * stride - 1);
}

class LCMRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly steps: readonly number[];
  readonly initialScale = 1;
  readonly stochastic = true;
  readonly retained: readonly T[] = [];
  #done = 0;

  constructor(
    private readonly schedule: NoiseSchedule,
    steps: number,
    options: SamplerOptions = {},
  ) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse("lcm", "eta", options.eta);
    this.timesteps = lcmTimesteps(schedule, steps);
    this.steps = eachItsOwn(this.timesteps);
  }

  scaleInput(_index: number, latents: T): T {
    return latents;
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    matchFreshNoise("lcm", true, random);
    this.#done++;
    const timestep = this.timesteps[index]!;
    const next = this.timesteps[index + 1];
    const scaled = timestep * (this.schedule.config.lcmTimestepScaling ?? 10);
    const skip = SIGMA_DATA ** 2 / (scaled ** 2 + SIGMA_DATA ** 2);
    const out = scaled / Math.hypot(scaled, SIGMA_DATA);
    const clean = cleanMixture(this.schedule.predictionType, this.schedule.noising(timestep));
    const there = next === undefined ? { signal: 1, noise: 0 } : this.schedule.noising(next);
    return linear([
      [there.signal * (skip + out * clean.latents), latents],
      [there.signal * out * clean.prediction, prediction],
      [there.noise, random!],
    ]);
  }
}

import { finite, knownKeys } from "../../check";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, strideOf, wholeTimesteps } from "./sampler";

/** z_prev = latents·z + noise·ε + random·n, n ~ N(0, I). */
export interface DDIMCoefficients {
  readonly latents: number;
  readonly noise: number;
  readonly random: number;
}

/**
 * One DDIM step as a linear map (Song et al., arXiv 2010.02502 eq. 12, σ by eq. 16).
 * @param alpha ᾱ of the level that z is at, in (0, 1)   @param alphaPrevious ᾱ of the level to go to, in (0, 1]
 * @param eta in [0, 1]; 0 is deterministic
 */
export function ddimCoefficients(alpha: number, alphaPrevious: number, eta = 0): DDIMCoefficients {
  const latents = Math.sqrt(alphaPrevious / alpha);
  if (eta === 0) {
    // √(1−b) − √(b(1−a)/a) with its two nearly equal roots multiplied out: PNDM's eq. 9 (arXiv 2202.09778).
    const noise =
      (alpha - alphaPrevious) /
      (alpha * Math.sqrt(1 - alphaPrevious) + Math.sqrt(alpha * (1 - alpha) * alphaPrevious));
    return { latents, noise, random: 0 };
  }
  const variance = eta ** 2 * ((1 - alphaPrevious) / (1 - alpha)) * (1 - alpha / alphaPrevious);
  const direction = Math.sqrt(Math.max(1 - alphaPrevious - variance, 0));
  return { latents, noise: direction - latents * Math.sqrt(1 - alpha), random: Math.sqrt(variance) };
}

/** DDIM (Song et al., arXiv 2010.02502); as in diffusers, a step goes ⌊T/steps⌋ down, whatever the spacing. */
export const ddim: Sampler = {
  name: "ddim",
  timesteps: wholeTimesteps,
  create: (schedule, steps, options) => new DDIMRun(schedule, steps, options),
};

class DDIMRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly steps: readonly number[];
  readonly initialScale = 1;
  readonly stochastic: boolean;
  readonly retained: readonly T[] = [];
  readonly #coefficients: readonly DDIMCoefficients[];
  #done = 0;

  constructor(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}) {
    knownKeys("the options of the sampler", options, ["eta"]);
    const eta = finite("eta", options.eta ?? 0, 0, 1);
    this.stochastic = eta > 0;
    this.timesteps = wholeTimesteps(schedule, steps);
    this.steps = eachItsOwn(this.timesteps);
    const stride = strideOf(schedule, steps);
    this.#coefficients = this.timesteps.map((t) =>
      ddimCoefficients(schedule.alphaCumprod(t), schedule.alphaCumprod(t - stride), eta),
    );
  }

  scaleInput(_index: number, latents: T): T {
    return latents;
  }

  step(index: number, latents: T, noise: T, random?: T): T {
    const factor = this.#coefficients[nextIndex(index, this.#done, this.timesteps.length)]!;
    matchFreshNoise("ddim", this.stochastic, random);
    this.#done++;
    const terms: [number, T][] = [
      [factor.latents, latents],
      [factor.noise, noise],
    ];
    if (random !== undefined) terms.push([factor.random, random]);
    return linear(terms);
  }
}

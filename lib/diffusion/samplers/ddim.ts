import { finite, knownKeys } from "../../check";
import { KpopError } from "../../errors";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import { cleanMixture, noiseMixture, type PredictionType } from "../prediction-type";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, strideOf, wholeTimesteps } from "./sampler";

/** z_prev = latents·z + noise·ε + random·n, n ~ N(0, I); v in the place of ε where that is what is predicted. */
export interface DDIMCoefficients {
  readonly latents: number;
  readonly noise: number;
  readonly random: number;
}

/**
 * One DDIM step as a linear map (Song et al., arXiv 2010.02502 eq. 12, σ by eq. 16).
 * @param alpha ᾱ of the level that z is at, in (0, 1)   @param alphaPrevious ᾱ of the level to go to, in (0, 1]
 * @param eta in [0, 1]; 0 is deterministic
 * @param type what `noise` is the factor of
 * @throws INVALID_ARGUMENT for ε at an ᾱ of 0, where it tells nothing of the picture
 */
export function ddimCoefficients(
  alpha: number,
  alphaPrevious: number,
  eta = 0,
  type: PredictionType = "epsilon",
): DDIMCoefficients {
  if (type === "v_prediction") {
    const variance = eta ** 2 * ((1 - alphaPrevious) / (1 - alpha)) * (1 - alpha / alphaPrevious);
    const direction = Math.sqrt(Math.max(1 - alphaPrevious - variance, 0));
    const level = { signal: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) };
    const [clean, noise] = [cleanMixture(type, level), noiseMixture(type, level)];
    return {
      latents: Math.sqrt(alphaPrevious) * clean.latents + direction * noise.latents,
      noise: Math.sqrt(alphaPrevious) * clean.prediction + direction * noise.prediction,
      random: Math.sqrt(variance),
    };
  }
  if (alpha === 0)
    throw new KpopError(
      "INVALID_ARGUMENT",
      "Expected timesteps below the schedule's last, which has zero signal-to-noise ratio: take fewer steps",
    );
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
      ddimCoefficients(
        schedule.alphaCumprod(t),
        schedule.alphaCumprod(t - stride),
        eta,
        schedule.predictionType,
      ),
    );
  }

  scaleInput(_index: number, latents: T): T {
    return latents;
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    const factor = this.#coefficients[nextIndex(index, this.#done, this.timesteps.length)]!;
    matchFreshNoise("ddim", this.stochastic, random);
    this.#done++;
    const terms: [number, T][] = [
      [factor.latents, latents],
      [factor.noise, prediction],
    ];
    if (random !== undefined) terms.push([factor.random, random]);
    return linear(terms);
  }
}

import { knownKeys } from "../../check";
import { KpopError } from "../../errors";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import { ddimCoefficients } from "./ddim";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, refuse, strideOf, wholeTimesteps } from "./sampler";

/** Adams-Bashforth weights for 1 to 4 predictions, the newest first (Liu et al., arXiv 2202.09778 eq. 12). */
const MULTISTEP: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];
const ORDER = MULTISTEP.length;

/**
 * PNDM without its Runge-Kutta start (PLMS; Liu et al., arXiv 2202.09778), as Stable Diffusion's configs ask for: the
 * first interval is taken twice, once with the first prediction and again with the mean of those at its two ends. So
 * `steps` ≥ 2 cost steps + 1 evaluations, and the second timestep appears twice. As in diffusers, it goes by levels that do
 * not end at 0, whatever the config says.
 */
export const pndm: Sampler = {
  name: "pndm",
  timesteps: plmsTimesteps,
  create: (schedule, steps, options) => new PLMSRun(schedule, steps, options),
};

function plmsTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  const [first, second, ...rest] = wholeTimesteps(schedule, steps);
  return second === undefined ? [first!] : [first!, second, second, ...rest];
}

class PLMSRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  /** Each evaluation is one, as where diffusers counts them. */
  readonly steps: readonly number[];
  readonly initialScale = 1;
  readonly stochastic = false;
  readonly #schedule: NoiseSchedule;
  readonly #stride: number;
  /** The newest first. */
  #predictions: T[] = [];
  #start: T | undefined;
  #done = 0;

  constructor(schedule: NoiseSchedule, steps: number, options: SamplerOptions = {}) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse("pndm", "eta", options.eta);
    if (!schedule.config.skipPrkSteps)
      throw new KpopError(
        "UNSUPPORTED_MODEL",
        'skip_prk_steps in scheduler_config.json is false: the Runge-Kutta start of PNDM is not supported; sample with "ddim"',
      );
    this.timesteps = plmsTimesteps(schedule, steps);
    this.steps = eachItsOwn(this.timesteps);
    this.#schedule = schedule.unmoved;
    this.#stride = strideOf(schedule, steps);
  }

  get retained(): readonly T[] {
    return this.#start === undefined ? this.#predictions : [this.#start, ...this.#predictions];
  }

  scaleInput(_index: number, latents: T): T {
    return latents;
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    matchFreshNoise("pndm", false, random);
    this.#done++;
    const timestep = this.timesteps[index]!;
    if (index === 1) {
      const start = this.#start!;
      this.#start = undefined;
      return this.#move(timestep + this.#stride, start, [
        [1 / 2, prediction],
        [1 / 2, this.#predictions[0]!],
      ]);
    }
    this.#predictions = [prediction, ...this.#predictions.slice(0, ORDER - 1)];
    if (index === 0 && this.timesteps.length > 1) this.#start = latents;
    const weights = MULTISTEP[this.#predictions.length - 1]!;
    return this.#move(
      timestep,
      latents,
      this.#predictions.map((one, i) => [weights[i]!, one]),
    );
  }

  /** From `timestep` one stride down, along the weighted predictions. */
  #move(timestep: number, latents: T, predictions: readonly (readonly [number, T])[]): T {
    const factor = ddimCoefficients(
      this.#schedule.alphaCumprod(timestep),
      this.#schedule.alphaCumprod(timestep - this.#stride, false),
      0,
      this.#schedule.predictionType,
    );
    return linear([
      [factor.latents, latents],
      ...predictions.map(([weight, prediction]) => [factor.noise * weight, prediction] as const),
    ]);
  }
}

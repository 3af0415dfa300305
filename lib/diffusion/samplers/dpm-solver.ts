import { integer, knownKeys } from "../../check";
import { KpopError } from "../../errors";
import type { Linear } from "../linear";
import { linear } from "../linear";
import type { NoiseSchedule } from "../noise-schedule";
import { cleanMixture, levelOf } from "../prediction-type";
import type { Sampler, SamplerOptions, SamplerRun } from "./sampler";
import { eachItsOwn, matchFreshNoise, nextIndex, refuse, roundToEven } from "./sampler";
import { karrasSigmas, timestepOf } from "./sigmas";

/**
 * DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2, midpoint form): a linear multistep method on x̂₀ in
 * λ = log(√ᾱ/√(1−ᾱ)), of first order in its first and last step. Its levels are Karras' where the schedule asks for that.
 */
export const dpmpp2m: Sampler = variant("dpmpp-2m", (schedule) => schedule.config.useKarrasSigmas === true);

/** The same with levels even in σ^(1/7) (Karras et al., arXiv 2206.00364 eq. 5), whatever the schedule asks for. */
export const dpmpp2mKarras: Sampler = variant("dpmpp-2m-karras", () => true);

function variant(name: string, isKarras: (schedule: NoiseSchedule) => boolean): Sampler {
  return {
    name,
    timesteps: (schedule, steps) => levelsOf(schedule, steps, isKarras(schedule)).timesteps,
    create: (schedule, steps, options) =>
      new DPMSolverRun(name, schedule, levelsOf(schedule, steps, isKarras(schedule)), options),
  };
}

interface Levels {
  readonly timesteps: number[];
  /** √((1−ᾱ)/ᾱ) of each; one more at the end, 0. */
  readonly sigmas: number[];
}

function levelsOf(schedule: NoiseSchedule, steps: number, karras: boolean): Levels {
  if (!karras) {
    const timesteps = timestepsOf(schedule, steps);
    return { timesteps, sigmas: [...timesteps.map((t) => schedule.sigma(t)), 0] };
  }
  integer("steps", steps, 1, schedule.length);
  const sigmas = karrasSigmas(schedule.sigma(schedule.length - 1), schedule.sigma(0), steps);
  return {
    timesteps: sigmas.map((sigma) => roundToEven(timestepOf(schedule, sigma))),
    sigmas: [...sigmas, 0],
  };
}

/**
 * diffusers' timesteps of this solver: one more than asked for is spread over the schedule, and the lowest left out, for
 * "linspace" (its own) and "leading"; "trailing" is that of all samplers.
 * @throws INVALID_ARGUMENT where two would be the same or one lies outside the schedule
 */
function timestepsOf(schedule: NoiseSchedule, steps: number): number[] {
  const { length, config } = schedule;
  integer("steps", steps, 1, length);
  const { timestepSpacing: spacing = "linspace", stepsOffset } = config;
  const each = (timestep: (i: number) => number): number[] =>
    Array.from({ length: steps }, (_, i) => timestep(i));
  if (spacing === "trailing") return each((i) => roundToEven(length - i * (length / steps)) - 1);
  if (steps === length) throw tooMany(steps, "take two at one timestep");
  if (spacing === "linspace") return each((i) => roundToEven((steps - i) * ((length - 1) / steps)));
  const stride = Math.floor(length / (steps + 1));
  const first = steps * stride + stepsOffset;
  if (first >= length) throw tooMany(steps, `start at timestep ${first} of ${length}`);
  return each((i) => first - i * stride);
}

function tooMany(steps: number, consequence: string): KpopError {
  return new KpopError(
    "INVALID_ARGUMENT",
    `Expected steps to fit the schedule, but ${steps} steps would ${consequence}; take fewer`,
  );
}

class DPMSolverRun<T extends Linear<T>> implements SamplerRun<T> {
  readonly timesteps: readonly number[];
  readonly steps: readonly number[];
  readonly initialScale = 1;
  readonly stochastic = false;
  readonly #sigmas: readonly number[];
  /** x̂₀ of the step before. */
  #clean: T | undefined;
  #done = 0;

  constructor(
    private readonly name: string,
    private readonly schedule: NoiseSchedule,
    { timesteps, sigmas }: Levels,
    options: SamplerOptions = {},
  ) {
    knownKeys("the options of the sampler", options, ["eta"]);
    refuse(name, "eta", options.eta);
    this.timesteps = timesteps;
    this.steps = eachItsOwn(timesteps);
    this.#sigmas = sigmas;
  }

  get retained(): readonly T[] {
    return this.#clean === undefined ? [] : [this.#clean];
  }

  scaleInput(_index: number, latents: T): T {
    return latents;
  }

  step(index: number, latents: T, prediction: T, random?: T): T {
    nextIndex(index, this.#done, this.timesteps.length);
    matchFreshNoise(this.name, false, random);
    this.#done++;
    const [sigma, next] = this.#sigmas.slice(index, index + 2) as [number, number];
    const [here, there] = [levelOf(sigma), levelOf(next)];
    const mixture = cleanMixture(this.schedule.predictionType, here);
    const clean = linear([
      [mixture.latents, latents],
      [mixture.prediction, prediction],
    ]);
    const before = this.#clean;
    this.#clean = index + 1 < this.timesteps.length ? clean : undefined;
    // −√ᾱ' (e^−h − 1), where h, the step in λ = −log σ, makes e^−h the ratio of the two σ.
    const move = there.signal * (1 - next / sigma);
    const rest = there.noise / here.noise;
    if (before === undefined || next === 0)
      return linear([
        [rest, latents],
        [move, clean],
      ]);
    const ratio = Math.log(this.#sigmas[index - 1]! / sigma) / Math.log(sigma / next);
    return linear([
      [rest, latents],
      [move * (1 + 1 / (2 * ratio)), clean],
      [-move / (2 * ratio), before],
    ]);
  }
}

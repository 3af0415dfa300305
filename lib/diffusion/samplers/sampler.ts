import { integer } from "../../check";
import { KpopError } from "../../errors";
import type { Linear } from "../linear";
import type { NoiseSchedule, TimestepSpacing } from "../noise-schedule";

export interface SamplerOptions {
  /** DDIM's stochasticity, 0 (default, deterministic) to 1 (that of DDPM). Other samplers take none. */
  eta?: number;
}

/** A solver of the reverse process: which timesteps the network sees, and how latents move between them. */
export interface Sampler {
  readonly name: string;
  /**
   * The timesteps of the network's evaluations, in order, for `steps` steps.
   * @throws INVALID_ARGUMENT where the schedule has no such number of steps
   */
  timesteps(schedule: NoiseSchedule, steps: number): number[];
  /** A fresh run; it holds what the solver remembers, so each picture batch takes its own. */
  create<T extends Linear<T>>(
    schedule: NoiseSchedule,
    steps: number,
    options?: SamplerOptions,
  ): SamplerRun<T>;
}

/**
 * One pass from noise to latents:
 * `z = z.mul(run.initialScale)`, then for each index `z = run.step(i, z, network(run.scaleInput(i, z), run.timesteps[i]))`.
 */
export interface SamplerRun<T> {
  readonly timesteps: readonly number[];
  /** The solver's step that each evaluation belongs to, from 0: Heun's method evaluates twice in most steps. */
  readonly steps: readonly number[];
  /** The standard deviation of the first latents. */
  readonly initialScale: number;
  /** Whether `step` takes fresh noise. */
  readonly stochastic: boolean;
  /** Tensors of earlier steps that the next step reads: whoever frees tensors between steps spares these. */
  readonly retained: readonly T[];
  /** What the network is given for `latents`; the latents themselves where the sampler does not scale. */
  scaleInput(index: number, latents: T): T;
  /**
   * The latents at the next level.
   * @param index of the evaluation; they are taken in order, 0 first
   * @param prediction what the network predicts (after guidance), ε or v as the schedule says
   * @param random fresh N(0, I); needed where `stochastic`, refused elsewhere
   * @throws INVALID_ARGUMENT
   */
  step(index: number, latents: T, prediction: T, random?: T): T;
}

/**
 * diffusers' "leading" spacing: i·⌊T/steps⌋ + steps_offset for i = steps−1 … 0.
 * @throws INVALID_ARGUMENT where that leaves the schedule, as 1000 steps do with an offset of 1
 */
export function leadingTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  integer("steps", steps, 1, schedule.length);
  const stride = strideOf(schedule, steps);
  const first = (steps - 1) * stride + schedule.config.stepsOffset;
  if (first >= schedule.length)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected steps to fit a schedule of ${schedule.length} timesteps with steps_offset ${schedule.config.stepsOffset}, but ${steps} steps would start at timestep ${first}; take fewer`,
    );
  return Array.from({ length: steps }, (_, i) => first - i * stride);
}

/**
 * A sampler's timesteps by the schedule's spacing, as in diffusers: "leading" as above; "linspace" from T−1 to 0; "trailing"
 * from T−1 in steps of T/steps. (Where T/steps has no exact float, diffusers' trailing list may have an entry -1 at its
 * end; this one has `steps` entries.)
 * @param own the sampler's spacing where the schedule names none
 * @returns descending, not rounded for "linspace"
 * @throws INVALID_ARGUMENT
 */
export function spacedTimesteps(schedule: NoiseSchedule, steps: number, own: TimestepSpacing): number[] {
  const spacing = schedule.config.timestepSpacing ?? own;
  if (spacing === "leading") return leadingTimesteps(schedule, steps);
  const { length } = schedule;
  integer("steps", steps, 1, length);
  if (spacing === "trailing")
    return Array.from({ length: steps }, (_, i) => roundToEven(length - i * (length / steps)) - 1);
  const last = steps === 1 ? 0 : length - 1;
  return Array.from({ length: steps }, (_, i) => (i === 0 ? last : (steps - 1 - i) * (last / (steps - 1))));
}

/** As `spacedTimesteps`, leading of their own, in whole numbers: DDIM's and PNDM's. @throws INVALID_ARGUMENT */
export function wholeTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  return spacedTimesteps(schedule, steps, "leading").map(roundToEven);
}

/** To the nearest integer, halves to the even one, as numpy rounds. */
export function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** The distance of neighbouring timesteps. */
export function strideOf(schedule: NoiseSchedule, steps: number): number {
  return Math.floor(schedule.length / steps);
}

/** A step for each evaluation. */
export function eachItsOwn(timesteps: readonly number[]): number[] {
  return timesteps.map((_, index) => index);
}

/** Checks that steps come in order: `expected` is the index of the next one. @throws INVALID_ARGUMENT */
export function nextIndex(index: number, expected: number, count: number): number {
  if (expected >= count)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `All ${count} steps of this sampler run are done; create another`,
    );
  if (index !== expected)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected step ${expected} of this sampler run but received ${index}: steps are taken in order`,
    );
  return index;
}

/** @throws INVALID_ARGUMENT */
export function refuse(sampler: string, option: string, value: unknown): void {
  if (value !== undefined)
    throw new KpopError("INVALID_ARGUMENT", `The sampler "${sampler}" takes no ${option}; "ddim" does`);
}

/** Checks that a step has fresh noise exactly where it takes some. @throws INVALID_ARGUMENT */
export function matchFreshNoise(sampler: string, stochastic: boolean, random: unknown): void {
  if ((random !== undefined) !== stochastic)
    throw new KpopError(
      "INVALID_ARGUMENT",
      stochastic
        ? `Expected fresh noise for a step of the sampler "${sampler}" but received none`
        : `Expected no fresh noise for a step of the sampler "${sampler}" but received some`,
    );
}

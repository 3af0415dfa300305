import type { NoiseSchedule } from "../noise-schedule";
import { levelOf, noiseMixture, type Mixture } from "../prediction-type";
import { spacedTimesteps } from "./sampler";

/** Noise levels of a solver in the variance-exploding view x = z/√ᾱ, σ = √((1−ᾱ)/ᾱ) (Karras et al., arXiv 2206.00364). */
export interface SigmaLevels {
  /** Descending; fractions where no integer timestep has the level. */
  readonly timesteps: readonly number[];
  /** Of each timestep; one more at the end, 0. */
  readonly sigmas: readonly number[];
  /** The standard deviation of the first x. */
  readonly initialScale: number;
  /** dx/dσ = ε at each timestep's level: factors of x and of what the network predicts. */
  readonly slopes: readonly Mixture[];
}

/**
 * The levels of Euler's and Heun's methods as in diffusers: timesteps are spread from T−1 to 0 (linspace) unless the schedule
 * names another spacing, and levels between the same two ends by Karras' rule where it asks for that.
 * @throws INVALID_ARGUMENT where the schedule has no such number of steps
 */
export function sigmaLevels(schedule: NoiseSchedule, steps: number): SigmaLevels {
  const { timestepSpacing, useKarrasSigmas } = schedule.config;
  let timesteps = spacedTimesteps(schedule, steps, "linspace");
  let sigmas = timesteps.map((t) => schedule.sigma(t));
  if (useKarrasSigmas) {
    sigmas = karrasSigmas(sigmas[0]!, sigmas.at(-1)!, steps);
    timesteps = sigmas.map((sigma) => timestepOf(schedule, sigma));
  }
  const largest = sigmas[0]!;
  // Only leading timesteps leave noise above the first level out of account, which diffusers makes up for.
  const initialScale = timestepSpacing === "leading" ? Math.hypot(largest, 1) : largest;
  const slopes = sigmas.map((sigma) => {
    const level = levelOf(sigma);
    const { latents, prediction } = noiseMixture(schedule.predictionType, level);
    return { latents: latents * level.signal, prediction };
  });
  return { timesteps, sigmas: [...sigmas, 0], initialScale, slopes };
}

/** `count` levels from `largest` to `smallest`, even in σ^(1/7) (arXiv 2206.00364 eq. 5). */
export function karrasSigmas(largest: number, smallest: number, count: number): number[] {
  const [from, to] = [largest ** (1 / RHO), smallest ** (1 / RHO)];
  return Array.from({ length: count }, (_, i) => (from + (i / Math.max(count - 1, 1)) * (to - from)) ** RHO);
}
const RHO = 7;

/** Where a level lies in the schedule: log σ is taken as a line between two neighbouring timesteps. */
export function timestepOf(schedule: NoiseSchedule, sigma: number): number {
  let below = 0;
  for (let above = schedule.length - 1; above - below > 1;) {
    const middle = (below + above) >> 1;
    if (schedule.sigma(middle) <= sigma) below = middle;
    else above = middle;
  }
  const [low, high] = [below, Math.min(below + 1, schedule.length - 1)].map((t) =>
    Math.log(schedule.sigma(t)),
  );
  const share = (Math.log(sigma) - low!) / (high! - low! || 1);
  return below + Math.min(Math.max(share, 0), 1);
}

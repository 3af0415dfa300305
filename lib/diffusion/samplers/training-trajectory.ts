import { integer, oneOf } from "../../check";
import type { NoiseSchedule } from "../noise-schedule";
import { ddimCoefficients } from "./ddim";
import { leadingTimesteps, strideOf } from "./sampler";

/** How far a training trajectory runs for a given loss timestep. */
export type TrajectorySampling = "aligned" | "compvis";

/** One deterministic DDIM step: z ← latents·z + noise·ε(z, timestep). */
export interface TrajectoryStep {
  readonly timestep: number;
  readonly latents: number;
  readonly noise: number;
}

/** After `executed` steps, z goes into the loss with a t drawn uniformly from `from` … `to`, both included. */
export interface TrajectoryStop {
  readonly executed: number;
  readonly timestep: { readonly from: number; readonly to: number };
  /** Timestep whose ᾱ the published scripts make x̂₀ with: of the DDIM step that t lies behind. */
  readonly level: number;
}

export interface TrainingTrajectory {
  readonly steps: readonly TrajectoryStep[];
  /** Each of equal probability; there are as many as sampling steps. */
  readonly stops: readonly TrajectoryStop[];
}

/**
 * The "sample z_t from the student until t" of ESD and KPOP as a table: N(0, I) moves through `steps`, and stops at
 * one of `stops` give the loss its z and t.
 *
 * - `"aligned"`: stop r (0 … S−1) has run r steps of the DDIM sampler and t is the timestep of z's own noise level.
 * - `"compvis"`: the indexing of ESD's published script. The highest timestep is never visited, a draw of r (the
 *   script's t_enc) stops S−r steps later (S−1 for r = 0), and t comes from the r-th of S equal parts of the schedule:
 *   z is about two sampling steps cleaner than t says.
 *
 * @param samplingSteps S; from 2 on for `"compvis"`
 * @throws INVALID_ARGUMENT
 */
export function trainingTrajectory(
  sampling: TrajectorySampling,
  schedule: NoiseSchedule,
  samplingSteps: number,
): TrainingTrajectory {
  oneOf("sampling", sampling, ["aligned", "compvis"]);
  return sampling === "aligned" ? aligned(schedule, samplingSteps) : compvis(schedule, samplingSteps);
}

/** The timesteps of a DDIM run of `steps` steps, descending. @throws INVALID_ARGUMENT */
export function ddimTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  return leadingTimesteps(schedule, steps);
}

/**
 * CompVis' DDIM timesteps τ_i = i·⌊T/steps⌋ + 1, descending: its own offset, whatever the config's is.
 * @throws INVALID_ARGUMENT where τ leaves the schedule
 */
export function compvisTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  const stride = strideOf(schedule, integer("steps", steps, 1, schedule.length - 1));
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * stride + 1);
}

function aligned(schedule: NoiseSchedule, count: number): TrainingTrajectory {
  const timesteps = ddimTimesteps(schedule, count);
  const stride = strideOf(schedule, count);
  return {
    steps: timesteps.map((t) => step(schedule, t, t - stride)),
    stops: timesteps.map((t, executed) => ({ executed, timestep: { from: t, to: t }, level: t })),
  };
}

function compvis(schedule: NoiseSchedule, count: number): TrainingTrajectory {
  integer("samplingSteps", count, 2, schedule.length - 1);
  const visited = compvisTimesteps(schedule, count).slice(1);
  const edge = (draw: number): number => Math.round((draw * schedule.length) / count);
  return {
    // The level behind the lowest timestep is that of timestep 0, not of a clean image.
    steps: visited.map((t, i) => step(schedule, t, visited[i + 1] ?? 0)),
    stops: Array.from({ length: count }, (_, draw) => ({
      executed: Math.min(count - draw, count - 1),
      timestep: { from: edge(draw), to: edge(draw + 1) - 1 },
      level: draw * strideOf(schedule, count) + 1,
    })),
  };
}

function step(schedule: NoiseSchedule, timestep: number, next: number): TrajectoryStep {
  const { latents, noise } = ddimCoefficients(schedule.alphaCumprod(timestep), schedule.alphaCumprod(next));
  return { timestep, latents, noise };
}

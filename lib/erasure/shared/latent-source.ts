import type { Condition } from "../../diffusion/condition";
import { textsIn } from "../../diffusion/condition";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import type { Tensor } from "../../runtime/tensor";
import type { StatePart } from "../../training/run-state";
import type { ErasureJob } from "../job";
import { CustomSource } from "./custom-source";
import type { TrajectoryOptions } from "./latent-options";
import { PoolSource } from "./pool-source";
import { RestartSource } from "./restart-source";
import { TrajectorySampler } from "./trajectory-sampler";

/** What one iteration trains on. */
export interface LatentBatch {
  /** (B, 4, h, w), float32. */
  readonly latents: Tensor;
  /** Timestep of each item, for the losses. */
  readonly timesteps: readonly number[];
  /** Index of each item's text among the texts to erase. */
  readonly texts: readonly number[];
}

/** What an iteration has predicted for its batch on the way, by the network that the trajectories follow. */
export interface KnownPredictions {
  /** ε(z_t, t, c), (B, 4, h, w). */
  readonly conditional: Tensor;
  /** ε(z_t, t, "") where that is known too. */
  readonly unconditional?: Tensor;
}

/** Gives the noisy latents z_t that an iteration trains on. */
export interface LatentSource extends StatePart {
  next(iteration: number): Promise<LatentBatch>;
  /** Told once an iteration, before the weights change. */
  advance(iteration: number, known: KnownPredictions): Promise<void>;
}

/** What trajectories are guided by. */
export interface LatentTexts {
  /** What they lead towards, n texts, one drawn for each. */
  readonly towards: Condition;
  /** Of "". */
  readonly empty: Condition;
  /** Whose trajectories they are. Default the student's, as it is when a step is taken. */
  readonly by?: StableDiffusion;
}

/** The source of z_t that the options ask for. */
export async function openLatents(
  job: ErasureJob,
  options: TrajectoryOptions,
  { towards, empty, by = job.student }: LatentTexts,
): Promise<LatentSource> {
  const { batchSize, latents, poolSize } = options;
  const textCount = textsIn(towards);
  if (typeof latents !== "string") return new CustomSource(job, latents, batchSize, textCount);
  const sampler = new TrajectorySampler(job, options, towards, empty, by);
  if (latents === "restart") return new RestartSource(job, sampler, batchSize, textCount);
  const aligned = options.sampling === "aligned";
  return new PoolSource(job, sampler, { size: poolSize, batchSize, textCount, aligned });
}

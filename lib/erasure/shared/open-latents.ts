import type { Condition } from "../../diffusion/condition";
import type { Denoiser } from "../../diffusion/predict";
import type { ErasureRun } from "../parts";
import { CustomSource } from "./custom-source";
import type { TrajectoryOptions } from "./latent-options";
import type { LatentSource } from "./latent-source";
import { PoolSource } from "./pool-source";
import { RestartSource } from "./restart-source";
import { textsOf, TrajectorySampler, type TrajectoryTexts } from "./trajectory-sampler";

/** What trajectories are guided by. */
export interface LatentTexts {
  /** What they lead towards, n texts, one drawn for each. */
  readonly towards: Condition | TrajectoryTexts;
  /** Of "". */
  readonly empty: Condition;
  /** Whose trajectories they are. Default the student's, as it is when a step is taken. */
  readonly by?: Denoiser;
}

/** What moves trajectories on. */
type Moving = (...given: ConstructorParameters<typeof TrajectorySampler>) => TrajectorySampler;

/** The source of z_t that the options ask for. @param moving in the place of what moves trajectories on */
export async function openLatents(
  job: ErasureRun,
  options: TrajectoryOptions,
  { towards, empty, by = job.student }: LatentTexts,
  moving: Moving = (...given) => new TrajectorySampler(...given),
): Promise<LatentSource> {
  const { batchSize, latents, poolSize } = options;
  const texts = "context" in towards ? textsOf(towards) : towards;
  const textCount = texts.count;
  if (typeof latents !== "string") return new CustomSource(job, latents, batchSize, textCount);
  const sampler = moving(job, options, texts, empty, by);
  if (latents === "restart") return new RestartSource(job, sampler, batchSize, textCount);
  const aligned = options.sampling === "aligned";
  return new PoolSource(job, sampler, { size: poolSize, batchSize, textCount, aligned });
}

import type { UNet2DConditionModel } from "../../models/unet";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import { CustomSource } from "./custom-source";
import type { LatentOptions } from "./latent-options";
import type { LatentSource } from "./latent-source";
import { PoolSource } from "./pool-source";
import { RestartSource } from "./restart-source";
import { TrajectorySampler } from "./trajectory-sampler";

/**
 * The source of z_t that the options ask for; a pool is filled here.
 * @param texts (n, L, d), what the trajectories are guided towards, one drawn for each
 * @param empty (1, L, d) of ""
 * @param network whose trajectories they are; default the student, as it is when a step is taken
 */
export async function openLatents(
  context: ErasureContext,
  options: Required<LatentOptions> & { batchSize: number },
  texts: Tensor,
  empty: Tensor,
  network: UNet2DConditionModel = context.student,
): Promise<LatentSource> {
  const { batchSize, latents, poolSize } = options;
  const textCount = texts.shape[0]!;
  if (typeof latents !== "string") return new CustomSource(context, latents, batchSize, textCount);
  const sampler = new TrajectorySampler(context, options, texts, empty, network);
  if (latents === "restart") return new RestartSource(context, sampler, batchSize, textCount);
  const aligned = options.sampling === "aligned";
  return noGrad(() => PoolSource.create(context, sampler, { size: poolSize, batchSize, textCount, aligned }));
}

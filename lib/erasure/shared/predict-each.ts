import type { UNet2DConditionModel } from "../../models/unet";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { LatentBatch } from "./latent-source";

/**
 * A network's predictions for the same z_t and t under each of several conditions, in one batch of them all.
 * @param conditions (B, L, d) each
 * @returns (B, 4, h, w) for each condition, in their order
 */
export async function predictEach<const Conditions extends readonly Tensor[]>(
  context: ErasureContext,
  network: UNet2DConditionModel,
  { latents, timesteps }: LatentBatch,
  conditions: Conditions,
): Promise<{ [K in keyof Conditions]: Tensor }> {
  const size = timesteps.length;
  const all = await context.predict(
    network,
    Tensor.cat(conditions.map(() => latents)),
    conditions.flatMap(() => timesteps),
    Tensor.cat(conditions),
  );
  const each = conditions.map((_, index) => all.slice(0, index * size, (index + 1) * size));
  return each as { [K in keyof Conditions]: Tensor };
}

import type { Tensor } from "../runtime/tensor";
import { countEvaluations } from "../training/evaluations";
import type { Condition } from "./condition";
import type { Denoiser, NoisyBatch } from "./predict";

/**
 * How much each place of a picture attends to each token of its text: the probabilities of every cross-attention module
 * (attn2), in forward order. The network goes no further than the last of them; each item counts as one evaluation.
 * @param options.grad whether to record a graph for `backward()`. Default false
 * @returns (B, heads, N, L) in the model's dtype for each module, N being the places at its resolution
 * @throws INVALID_ARGUMENT when shapes do not fit
 */
export async function crossAttention(
  { unet, dtype }: Denoiser,
  { latents, timesteps }: NoisyBatch,
  { context }: Condition,
  options: { grad?: boolean } = {},
): Promise<Tensor[]> {
  countEvaluations(latents.shape[0]!);
  const names = unet.crossAttentionNames().map((name) => `${name}.probabilities`);
  const found = await unet.activations(latents.to(dtype), timesteps, context, names, options);
  return names.map((name) => found.get(name)!);
}

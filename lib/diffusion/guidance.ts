import type { UNet2DConditionModel, UNetForwardOptions } from "../models/unet";
import { Tensor } from "../runtime/tensor";

/** What a prediction is conditioned on. */
export interface Condition {
  /** (B, L, d) of the prompt. */
  readonly text: Tensor;
  /** (B, L, d) of the negative or empty prompt; null where guidance is off (scale 1). */
  readonly negative: Tensor | null;
  readonly guidanceScale: number;
  /** A learned prompt and where it enters. */
  readonly injection?: Pick<UNetForwardOptions, "prompt" | "mechanism" | "layers">;
  /** Whether the negative half sees the learned prompt too. Default false: guidance would subtract what it adds. */
  readonly injectNegative?: boolean;
}

/**
 * Classifier-free guidance (arXiv 2207.12598 eq. 6, in the form of Stable Diffusion): ε = ε_u + w (ε_c - ε_u), both
 * halves in one batch (two where only one sees a learned prompt); the negative half is skipped when w = 1.
 * @param sample (B, 4, h, w)
 * @returns (B, 4, h, w) in the sample's dtype
 */
export async function guidedNoise(
  unet: UNet2DConditionModel,
  sample: Tensor,
  timestep: number | readonly number[],
  condition: Condition,
  computeDtype = sample.dtype,
): Promise<Tensor> {
  const input = sample.to(computeDtype);
  const { text, negative, guidanceScale, injection } = condition;
  if (negative === null) return (await unet.forward(input, timestep, text, injection)).to(sample.dtype);

  if (injection !== undefined && condition.injectNegative !== true) {
    const unconditional = await unet.forward(input, timestep, negative);
    const conditional = await unet.forward(input, timestep, text, injection);
    return combine(unconditional, conditional, guidanceScale).to(sample.dtype);
  }
  const batch = sample.shape[0]!;
  const doubled = typeof timestep === "number" ? timestep : [...timestep, ...timestep];
  const prompt = injection?.prompt;
  const noise = await unet.forward(Tensor.cat([input, input]), doubled, Tensor.cat([negative, text]), {
    ...injection,
    // A prompt of its own for each item goes to both halves of that item.
    ...(prompt?.shape.length === 3 ? { prompt: Tensor.cat([prompt, prompt]) } : {}),
  });
  return combine(noise.slice(0, 0, batch), noise.slice(0, batch), guidanceScale).to(sample.dtype);
}

/** ε_u + w (ε_c - ε_u). */
export function combine(unconditional: Tensor, conditional: Tensor, guidanceScale: number): Tensor {
  return unconditional.add(conditional.sub(unconditional).mul(guidanceScale));
}

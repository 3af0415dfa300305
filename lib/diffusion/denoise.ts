import { throwIfAborted } from "../errors";
import type { UNet2DConditionModel } from "../models/unet";
import { scope } from "../runtime/scope";
import type { Dtype, Tensor } from "../runtime/tensor";
import { guidedNoise, type Condition } from "./guidance";
import type { SamplerRun } from "./samplers";

export interface DenoiseState {
  /** Steps done, from 1. */
  readonly step: number;
  readonly steps: number;
  readonly timestep: number;
  /** (B, 4, h, w) after this step; freed when the next step has been taken. */
  readonly latents: Tensor;
}

/**
 * The reverse process, one step at a time: the caller owns progress and may stop early.
 * @param noise (B, 4, h, w), standard normal; not freed
 */
export async function* denoise(
  unet: UNet2DConditionModel,
  run: SamplerRun<Tensor>,
  noise: Tensor,
  condition: Condition,
  options: { computeDtype?: Dtype; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<DenoiseState> {
  const steps = run.timesteps.length;
  let latents = run.initialScale === 1 ? noise : noise.mul(run.initialScale);
  let held: Tensor[] = [];
  try {
    for (const [index, timestep] of run.timesteps.entries()) {
      throwIfAborted(options.signal);
      const alive = await scope(async () => {
        const input = run.scaleInput(index, latents);
        const predicted = await guidedNoise(unet, input, timestep, condition, options.computeDtype);
        return [run.step(index, latents, predicted), ...run.retained];
      });
      free([...held, latents], [noise, ...alive]);
      [latents, ...held] = alive as [Tensor, ...Tensor[]];
      yield { step: index + 1, steps, timestep, latents };
    }
  } finally {
    free([latents, ...held], [noise]);
  }
}

function free(tensors: readonly Tensor[], except: readonly Tensor[]): void {
  for (const tensor of tensors) if (!except.includes(tensor)) tensor.dispose();
}

import { throwIfAborted } from "../errors";
import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { guidedNoise, type Guidance } from "./guidance";
import type { Denoiser } from "./predict";
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
  model: Denoiser,
  run: SamplerRun<Tensor>,
  noise: Tensor,
  guidance: Guidance,
  options: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<DenoiseState> {
  const steps = run.timesteps.length;
  let latents = run.initialScale === 1 ? noise : noise.mul(run.initialScale);
  let held: Tensor[] = [];
  try {
    for (const [index, timestep] of run.timesteps.entries()) {
      throwIfAborted(options.signal);
      const alive = await scope(async () => {
        const input = { latents: run.scaleInput(index, latents), timesteps: timestep };
        const predicted = await guidedNoise(model, input, guidance, index);
        const steered = (guidance.steering ?? []).flatMap(({ by }) => by.retained);
        return [run.step(index, latents, predicted), ...run.retained, ...steered];
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

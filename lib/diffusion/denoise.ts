import { throwIfAborted } from "../errors";
import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { guidedPrediction, type Guidance } from "./guidance";
import type { Denoiser } from "./predict";
import type { SamplerRun } from "./samplers";

export interface DenoiseState {
  /** The solver's steps done, from 1; a step may take several evaluations. */
  readonly step: number;
  readonly steps: number;
  readonly timestep: number;
  /** (B, 4, h, w) after this step; freed when the next step has been taken. */
  readonly latents: Tensor;
}

/**
 * The reverse process, one step at a time: the caller owns progress and may stop early.
 * @param noise (B, 4, h, w), standard normal; not freed
 * @param options.fresh standard normal draws of that shape for an evaluation, where the sampler is stochastic
 */
export async function* denoise(
  model: Denoiser,
  run: SamplerRun<Tensor>,
  noise: Tensor,
  guidance: Guidance,
  options: { signal?: AbortSignal | undefined; fresh?: (evaluation: number) => Tensor } = {},
): AsyncGenerator<DenoiseState> {
  const steps = run.steps.at(-1)! + 1;
  let latents = run.initialScale === 1 ? noise : noise.mul(run.initialScale);
  let held: Tensor[] = [];
  try {
    for (const [index, timestep] of run.timesteps.entries()) {
      throwIfAborted(options.signal);
      const step = run.steps[index]!;
      const alive = await scope(async () => {
        const input = { latents: run.scaleInput(index, latents), timesteps: timestep };
        const predicted = await guidedPrediction(model, input, guidance, step);
        const steered = (guidance.steering ?? []).flatMap(({ by }) => by.retained);
        const random = run.stochastic ? options.fresh?.(index) : undefined;
        return [run.step(index, latents, predicted, random), ...run.retained, ...steered];
      });
      free([...held, latents], [noise, ...alive]);
      [latents, ...held] = alive as [Tensor, ...Tensor[]];
      if (run.steps[index + 1] !== step) yield { step: step + 1, steps, timestep, latents };
    }
  } finally {
    free([latents, ...held], [noise]);
  }
}

function free(tensors: readonly Tensor[], except: readonly Tensor[]): void {
  for (const tensor of tensors) if (!except.includes(tensor)) tensor.dispose();
}

import type { NoiseSchedule } from "../../diffusion/noise-schedule";
import { Tensor } from "../../runtime/tensor";

/** Where predictions are compared: as noise ε, or as the picture that follows from it, x̂₀ = (z − √(1−ᾱ) ε) / √ᾱ. */
export type ErrorSpace = "noise" | "picture";

/**
 * The mean square of what two predictions for the same z_t differ by. As pictures an item's square weighs
 * (1−ᾱ_t)/ᾱ_t times as much: z_t cancels.
 * @param predicted (B, 4, h, w), as `target`
 * @param timesteps of each item
 */
export function predictionError(
  predicted: Tensor,
  target: Tensor,
  {
    space,
    schedule,
    timesteps,
  }: { space: ErrorSpace; schedule: NoiseSchedule; timesteps: readonly number[] },
): Tensor {
  if (space === "noise") return predicted.mse(target);
  const weights = timesteps.map((timestep) => schedule.sigma(timestep) ** 2);
  const shape = [weights.length, ...predicted.shape.slice(1).map(() => 1)];
  const factors = Tensor.from(Float32Array.from(weights), shape, { device: predicted.device });
  return predicted.sub(target).square().mul(factors).mean();
}

import type { NoiseSchedule } from "../../diffusion/noise-schedule";
import { choice } from "../../options/kinds";
import { Tensor } from "../../runtime/tensor";
import type { LatentBatch } from "./latent-source";

/** Where predictions are compared: as noise ε, or as the picture that follows from it, x̂₀ = (z − √(1−ᾱ) ε) / √ᾱ. */
export type ErrorSpace = "noise" | "picture";

/** The option of it. */
export function errorSpace(initial: ErrorSpace) {
  return choice<ErrorSpace>(
    initial,
    ["noise", "picture"],
    "where predictions are compared: as noise, or as the picture that follows from it",
  );
}

/** `predictionError` of a batch of latents, at the levels that it says. */
export type BatchError = (
  predicted: Tensor,
  target: Tensor,
  batch: Pick<LatentBatch, "timesteps" | "levels">,
) => Tensor;

/** The error in a space. */
export function errorIn(space: ErrorSpace, schedule: NoiseSchedule): BatchError {
  return (predicted, target, { timesteps, levels = timesteps }) =>
    predictionError(predicted, target, { space, schedule, timesteps: levels });
}

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

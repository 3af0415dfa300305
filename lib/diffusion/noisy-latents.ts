import type { Random } from "../runtime/random";
import { Tensor } from "../runtime/tensor";
import type { NoiseSchedule } from "./noise-schedule";

/** Latents on their way to noise, and what the denoising loss asks for. */
export interface NoisyLatents {
  /** z_t, (B, 4, h, w). */
  readonly latents: Tensor;
  /** n, (B, 4, h, w). */
  readonly noise: Tensor;
  /** t of each item. */
  readonly timesteps: readonly number[];
}

/**
 * z_t = √ᾱ_t z_0 + √(1−ᾱ_t) n at a uniform t for each item (Ho et al., arXiv 2006.11239, algorithm 1).
 * @param clean z_0, (B, 4, h, w), float32
 * @param random item i draws from `random.at(i)`
 */
export function noisyLatents(schedule: NoiseSchedule, clean: Tensor, random: Random): NoisyLatents {
  const [count, ...shape] = clean.shape as [number, ...number[]];
  const draws = Array.from({ length: count }, (_, item) => random.at(item));
  const timesteps = draws.map((draw) => draw.at("timestep").below(schedule.length));
  const { device } = clean;
  const noise = Tensor.cat(draws.map((draw) => draw.normal([1, ...shape]))).to({ device });
  return { latents: addNoise(schedule, clean, noise, timesteps), noise, timesteps };
}

/**
 * z_t = √ᾱ_t z_0 + √(1−ᾱ_t) n, each item at a t of its own.
 * @param clean z_0, (B, C, h, w), float32   @param noise of the same shape   @param timesteps B of them
 * @returns z_t, (B, C, h, w)
 */
export function addNoise(
  schedule: NoiseSchedule,
  clean: Tensor,
  noise: Tensor,
  timesteps: readonly number[],
): Tensor {
  const levels = timesteps.map((timestep) => schedule.noising(timestep));
  const factor = (values: number[]): Tensor =>
    Tensor.from(values, [values.length, 1, 1, 1], { device: clean.device });
  return clean
    .mul(factor(levels.map((level) => level.signal)))
    .add(noise.mul(factor(levels.map((level) => level.noise))));
}

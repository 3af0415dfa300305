import { sampler as samplerNamed, type SamplerName } from "./samplers";
import type { StableDiffusion } from "./stable-diffusion";

/** UNet evaluations that one picture takes: the sampler's own number of steps, twice under guidance. */
export function evaluationsPerPicture(
  { defaultSampler, schedule }: StableDiffusion,
  options: { steps: number; guidanceScale: number; sampler?: SamplerName },
): number {
  const { steps, guidanceScale, sampler = defaultSampler } = options;
  return samplerNamed(sampler).timesteps(schedule, steps).length * (guidanceScale === 1 ? 1 : 2);
}

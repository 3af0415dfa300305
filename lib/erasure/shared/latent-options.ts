import { finite, integer, invalid, oneOf } from "../../check";
import type { TrajectorySampling } from "../../diffusion/samplers/training-trajectory";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import type { CustomLatents } from "./custom-source";
import { checkTemplates } from "./texts";

/** Options of methods that train on z_t from trajectories which are guided towards a text. */
export interface LatentOptions {
  /** Ways to name each concept, "{}" standing for it; each is trained on. Default the bare name. */
  templates?: string[];
  /** Guidance scale of the trajectories that z_t comes from. Default 3. */
  startGuidance?: number;
  /** Steps of those trajectories: the noise levels that z_t may have. A pool skips to about ten of them. Default 50. */
  samplingSteps?: number;
  /** "aligned": z_t's noise level is t's. "compvis": ESD's published indexing, some levels cleaner. */
  sampling?: TrajectorySampling;
  /** Where z_t comes from. Default "pool". */
  latents?: "pool" | "restart" | AsyncIterable<CustomLatents>;
  /** Trajectories in the pool, each of one text at a time. Default 16. */
  poolSize?: number;
}

export const latentDefaults: Readonly<Required<LatentOptions>> = Object.freeze({
  templates: ["{}"],
  startGuidance: 3,
  samplingSteps: 50,
  sampling: "aligned",
  latents: "pool",
  poolSize: 16,
});

export const latentHelp: Readonly<Record<keyof LatentOptions, string>> = Object.freeze({
  templates: 'ways to name a concept, such as "a photo of a {}"',
  startGuidance: "guidance scale of the training trajectories",
  samplingSteps: "steps of the training trajectories",
  sampling: "noise level of z_t: aligned with t, or the published scripts' indexing (compvis)",
  latents: "where noisy latents come from: pool, or restart for a new trajectory each time",
  poolSize: "trajectories in the pool",
});

/** @throws INVALID_ARGUMENT naming the option */
export function checkLatentOptions(
  options: Required<LatentOptions> & { batchSize: number },
  base: StableDiffusion,
): void {
  const { latents, poolSize, batchSize } = options;
  checkTemplates(options.templates);
  finite("startGuidance", options.startGuidance, 0);
  integer("samplingSteps", options.samplingSteps, 1, base.schedule.length);
  oneOf("sampling", options.sampling, ["aligned", "compvis"]);
  integer("poolSize", poolSize, 1);
  if (poolSize < batchSize && latents === "pool") {
    throw invalid("poolSize", `at least batchSize (${batchSize})`, poolSize);
  }
  if (typeof latents === "string") oneOf("latents", latents, ["pool", "restart"]);
  else if (typeof latents !== "object" || latents === null || !(Symbol.asyncIterator in latents)) {
    throw invalid("latents", '"pool", "restart" or an AsyncIterable', latents);
  }
}

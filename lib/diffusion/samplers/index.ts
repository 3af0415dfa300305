import { oneOf } from "../../check";
import { ddim } from "./ddim";
import { euler } from "./euler";
import { pndm } from "./pndm";
import type { Sampler } from "./sampler";

const SAMPLERS = { ddim, pndm, euler } satisfies Record<string, Sampler>;

/** Samplers by name. */
export type SamplerName = keyof typeof SAMPLERS;

/** The values that `sampler()` takes, in the order of the help text. */
export const SAMPLER_NAMES = Object.keys(SAMPLERS) as SamplerName[];

/** The sampler of that name. @throws INVALID_ARGUMENT listing those that exist */
export function sampler(name: string): Sampler {
  return SAMPLERS[oneOf("sampler", name, SAMPLER_NAMES)];
}

export type { Sampler, SamplerOptions, SamplerRun } from "./sampler";

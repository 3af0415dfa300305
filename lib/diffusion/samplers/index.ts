import { oneOf } from "../../check";
import { ddim } from "./ddim";
import { dpmpp2m, dpmpp2mKarras } from "./dpm-solver";
import { euler, eulerAncestral } from "./euler";
import { heun } from "./heun";
import { lcm } from "./lcm";
import { pndm } from "./pndm";
import type { Sampler } from "./sampler";

const SAMPLERS = {
  ddim,
  pndm,
  euler,
  "euler-ancestral": eulerAncestral,
  heun,
  "dpmpp-2m": dpmpp2m,
  "dpmpp-2m-karras": dpmpp2mKarras,
  lcm,
} satisfies Record<string, Sampler>;

/** Samplers by name. @useDeclaredType */
export type SamplerName = keyof typeof SAMPLERS;

/** The values that `sampler()` takes, in the order of the help text. */
export const SAMPLER_NAMES = Object.keys(SAMPLERS) as SamplerName[];

/** The sampler of that name. @throws INVALID_ARGUMENT listing those that exist */
export function sampler(name: string): Sampler {
  return SAMPLERS[oneOf("sampler", name, SAMPLER_NAMES)];
}

/** What diffusers calls ours. */
const OF_SCHEDULER: Readonly<Record<string, SamplerName>> = {
  DDIMScheduler: "ddim",
  PNDMScheduler: "pndm",
  EulerDiscreteScheduler: "euler",
  EulerAncestralDiscreteScheduler: "euler-ancestral",
  HeunDiscreteScheduler: "heun",
  DPMSolverMultistepScheduler: "dpmpp-2m",
  LCMScheduler: "lcm",
};

/** Values of a scheduler's own settings under which it is our sampler; a field that is absent passes. */
const OWN_SETTINGS: Readonly<Record<string, unknown>> = {
  algorithm_type: "dpmsolver++",
  solver_order: 2,
  solver_type: "midpoint",
  lower_order_final: true,
  final_sigmas_type: "zero",
  interpolation_type: "linear",
  timestep_type: "discrete",
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  use_lu_lambdas: false,
  use_flow_sigmas: false,
};

/** The sampler that a `scheduler_config.json` names, or null where it, or a setting of it, is none of ours. */
export function samplerOfConfig(scheduler: Readonly<Record<string, unknown>>): SamplerName | null {
  const { _class_name: name } = scheduler;
  if (typeof name !== "string" || !Object.hasOwn(OF_SCHEDULER, name)) return null;
  const isOurs = Object.entries(OWN_SETTINGS).every(
    ([field, value]) => (scheduler[field] ?? value) === value,
  );
  return isOurs ? OF_SCHEDULER[name]! : null;
}

export type { Sampler, SamplerOptions, SamplerRun } from "./sampler";

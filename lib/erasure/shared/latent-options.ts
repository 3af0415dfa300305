import { invalid } from "../../check";
import type { TrajectorySampling } from "../../diffusion/samplers/training-trajectory";
import { choice, integer, number, steps, templates } from "../../options/kinds";
import type { Complete, Option } from "../../options/option";
import type { CustomLatents } from "./custom-source";

/** @inline */
type Latents = "pool" | "restart" | AsyncIterable<CustomLatents>;

const latents: Option<Latents> = {
  ...choice(
    "pool",
    ["pool", "restart"],
    "where noisy latents come from: pool, or restart for a new trajectory each time",
  ),
  check(name, value) {
    if (value === "pool" || value === "restart") return value;
    if (typeof value === "object" && value !== null && Symbol.asyncIterator in value) return value as Latents;
    throw invalid(name, '"pool", "restart" or an AsyncIterable', value);
  },
};

const sampling: Option<TrajectorySampling> = choice<TrajectorySampling>(
  "aligned",
  ["aligned", "compvis"],
  "noise level of z_t: aligned with t, or the published scripts' indexing (compvis)",
);

/** Options of methods that train on z_t from trajectories which are guided towards a text. */
export function trajectories() {
  return {
    /** Ways to name each concept, "{}" standing for it; each is trained on. Default the bare name. */
    templates: templates(["{}"], 'ways to name a concept, such as "a photo of a {}"'),
    /** Guidance scale of the trajectories that z_t comes from. Default 3. */
    startGuidance: number(3, "guidance scale of the training trajectories", { from: 0 }),
    /** Steps of those trajectories: the noise levels that z_t may have. A pool skips to about ten of them. Default 50. */
    samplingSteps: steps(50, "steps of the training trajectories"),
    /** "aligned": z_t's noise level is t's. "compvis": ESD's published indexing, some levels cleaner. */
    sampling,
    /** Where z_t comes from. Default "pool". */
    latents,
    /** Trajectories in the pool, each of one text at a time. Default 16. */
    poolSize: integer(16, "trajectories in the pool", { from: 1 }),
  };
}

/** The option of whose trajectories z_t comes from. */
export function sampledBy(initial: "student" | "teacher") {
  return choice(
    initial,
    ["student", "teacher"],
    "whose trajectories noisy latents come from: student or teacher",
  );
}

/** `trajectories()`, complete, with the batch that is taken of them. */
export type TrajectoryOptions = Complete<ReturnType<typeof trajectories>> & { readonly batchSize: number };

/** @throws INVALID_ARGUMENT where the pool is smaller than a batch, or there are too few steps for the sampling */
export function checkTrajectories(o: TrajectoryOptions): void {
  if (o.poolSize < o.batchSize && o.latents === "pool")
    throw invalid("poolSize", `at least batchSize (${o.batchSize})`, o.poolSize);
  if (o.sampling === "compvis" && o.samplingSteps < 2)
    throw invalid("samplingSteps", 'at least 2 where sampling is "compvis"', o.samplingSteps);
}

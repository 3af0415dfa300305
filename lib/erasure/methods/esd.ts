import { schedule } from "../../options/kinds";
import { defineMethod, type OptionsOf } from "../method";
import { esdLoss, trainOnEsdLoss } from "../shared/esd-loss";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { ENTRANT, training } from "../shared/training-options";

/**
 * ESD: erased Stable Diffusion (Gandikota et al. 2023, arXiv 2303.07345).
 *
 * Each iteration, on z_t and t of a trajectory that is guided towards the concept c_e, θ' takes a step on
 * ‖ε_θ'(z_t, t, c_e) - (ε_θ(z_t, t, c_0) - η (ε_θ(z_t, t, c_e) - ε_θ(z_t, t, c_0)))‖², a mean over elements: the concept's
 * prediction is drawn to where guidance away from the concept leads the model as it came, θ. c_0 is "".
 *
 * With `from`, trajectory and student have c_f for c_e, and the target is ε_θ(c_f) - η (ε_θ(c_e) - ε_θ(c_0)). For
 * c_f = c_e that is the target above with η - 1 for η.
 *
 * `parameters` makes the variants: "esd-x" ("xattn", the default) for objects and styles, "noxattn" (the paper's ESD-u)
 * for what appears without being named, "selfattn", "full", "notime", "esd-x-strict".
 */
export const esd = defineMethod({
  name: "esd",
  title: "ESD",
  short: "draws the concept's predictions to where guidance away from it leads",
  reference: "arXiv 2303.07345",
  kind: "training",
  cost: "4 UNet evaluations an iteration, 3 on the teacher's trajectories",
  entrant: ENTRANT,
  options: {
    ...esdLoss(),
    ...training(),
    /**
     * Adam's rate for the weights. Default 1e-4, chosen on an earlier built-in model with "church", by eye and in one run
     * each: of 21 pictures that name it none was left with 1e-4, 2e-4 or 5e-4, one with 5e-5; pictures of ten other things
     * moved by 8, 13 and 18 of 255 levels on average with the first three. For the wider layers of Stable Diffusion 1.x
     * begin with the published 1e-5; nothing was measured at that size.
     */
    learningRate: schedule(1e-4, "Adam's rate for the weights"),
    ...trajectories(),
  },
  check: checkTrajectories,
  run: async (job, o) => trainOnEsdLoss(job, o, { student: job.student, weights: await job.adam(o) }),
});

/** Options of ESD, before defaults. @interface */
export type EsdOptions = OptionsOf<typeof esd>;

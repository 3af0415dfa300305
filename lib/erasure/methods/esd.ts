import { repeated, rows } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { number, perConcept, schedule, text } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { checkTrajectories, sampledBy, trajectories } from "../shared/latent-options";
import { fillTemplates } from "../shared/texts";
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
    /** η: how far the prediction is led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far predictions are led away from the concept", { from: 0 }),
    /**
     * What the concepts are taken out of, c_f: one prompt for all of them, or one for each; an attribute then goes from
     * its pictures alone. Default the concepts themselves, entirely.
     */
    from: perConcept(
      text(undefined, "erase the concept from this prompt's pictures alone; one, or one for each concept"),
    ),
    /**
     * Whose trajectories z_t comes from: the "student", as the paper has it, or the frozen "teacher", as in its later
     * script, whose pool costs no evaluation of its own: 3 an iteration in place of 4. Default "student".
     */
    sampledBy: sampledBy("student"),
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
  async run(job, o) {
    const { student, teacher } = job;
    const encode = (names: readonly string[]) =>
      job.encode(fillTemplates(names, o.templates).map(({ text: name }) => name));
    const concepts = await encode(job.concepts); // (n, L, d)
    const from = o.from === undefined ? concepts : await encode(o.from);
    const empty = await job.encode([""]);
    const byStudent = o.sampledBy === "student";
    const weights = await job.adam(o);
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards: from, empty, by: byStudent ? student : teacher });

    await job.iterate(o.iterations, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const condition = rows(from, batch.texts);
      const none = repeated(empty, batch.texts.length);
      const named = from === concepts ? [] : [rows(concepts, batch.texts)];
      const [conditional, unconditional, concept] = await noGrad(() =>
        evaluateEach(teacher, batch, [condition, none, ...named] as const),
      );
      const direction = (concept ?? conditional).sub(unconditional);
      const target = (concept === undefined ? unconditional : conditional).sub(
        direction.mul(o.negativeGuidance),
      );
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, condition, { grad: true });
        const erase = await backward(predicted.mse(target));
        await latents.advance(i, byStudent ? { conditional: predicted } : { conditional, unconditional });
        return { erase, ...(await preservation.step(i, batch, backward)) };
      });
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of ESD, before defaults. */
export type EsdOptions = OptionsOf<typeof esd>;

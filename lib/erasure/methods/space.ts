import { joined, repeated, rows } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { number, perConcept, text } from "../../options/kinds";
import { alias } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { checkTrajectories, sampledBy, trajectories } from "../shared/latent-options";
import { checkSubjects } from "../shared/subject-prompt";
import { fillTemplates, type ConceptText } from "../shared/texts";
import { training } from "../shared/training-options";

const ALTERNATIVE = perConcept(
  text("", "text that the concepts are turned into: one for all, or one for each", { blank: true }),
);

/**
 * All but One: surgical concept erasing (Hong, Lee and Woo, AAAI 2024, arXiv 2312.12807), as its abstract tells of it:
 * an update of the guidance term that constrains the drift of the unconditional prediction. The losses and all defaults
 * are ours.
 *
 * With d_θ(c) = ε_θ(z_t, t, c) - ε_θ(z_t, t, c_0), what guidance multiplies, each iteration takes a step on
 *   ‖d_θ'(c_e) - d_θ(c_a)‖² + β ‖ε_θ'(z_t, t, c_0) - ε_θ(z_t, t, c_0)‖²
 * on z_t and t of a trajectory that is guided towards the concept c_e. All are means over elements, c_0 is "", and θ the
 * model as it came. With the alternative c_a = "" the concept's guidance is to vanish.
 */
export const space = defineMethod({
  name: "space",
  title: "All but One",
  short: "puts another text's guidance in the place of the concept's, and holds the unconditional prediction",
  reference: "arXiv 2312.12807",
  kind: "training",
  cost: "4 UNet evaluations an iteration, 5 with an alternative, 3 on the student's trajectories",
  entrant: false,
  options: {
    /** c_a, what the concepts are turned into: one text for all, or one for each. Default "", nothing. */
    alternative: ALTERNATIVE,
    /** The same as `alternative`. */
    target: alias("alternative", ALTERNATIVE),
    /** β, weight of holding the unconditional prediction. >= 0, default 1. */
    driftWeight: number(1, "weight of holding the unconditional prediction", { from: 0 }),
    /**
     * Whose trajectories z_t comes from: the frozen "teacher", default, or the "student", whose pool costs no evaluation
     * of its own.
     */
    sampledBy: sampledBy("teacher"),
    ...training(),
    ...trajectories(),
  },
  check: checkTrajectories,
  fit(o, { tokenizer }) {
    const others = o.alternative.filter((alternative) => alternative !== "");
    checkSubjects(tokenizer, others, o.templates);
  },
  keeps: () => ({ graph: 2 }),
  async run(job, o) {
    const { student, teacher } = job;
    const encode = (names: readonly string[]) => job.encode(names);
    const texts = fillTemplates(job.concepts, o.templates);
    const concepts = await encode(texts.map(({ text: name }) => name)); // (n, L, d)
    const empty = await job.unconditional();
    const others = fillTemplates(o.alternative, o.templates);
    const isEmpty = ({ concept }: ConceptText): boolean => o.alternative[concept] === "";
    const alternatives = others.every(isEmpty)
      ? null
      : rows(
          joined([empty, await encode(others.map(({ text: name }) => name))]),
          // Nothing is nothing in any phrasing, and what the unconditional prediction is of.
          others.map((other, at) => (isEmpty(other) ? 0 : 1 + at)),
        ); // (n, L, d)
    const byStudent = o.sampledBy === "student";
    const weights = await job.adam(o);
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards: concepts, empty, by: byStudent ? student : teacher });

    await job.iterate(o.iterations, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const concept = rows(concepts, batch.texts);
      const none = repeated(empty, batch.texts.length);
      const named = alternatives === null ? [] : [rows(alternatives, batch.texts)];
      const [before, other] = await noGrad(() => evaluateEach(teacher, batch, [none, ...named] as const));
      const target = other === undefined ? before.mul(0) : other.sub(before);
      const losses = await weights.update(i, async (backward) => {
        const [conditional, unconditional] = await evaluateEach(student, batch, [concept, none], {
          grad: true,
        });
        await latents.advance(i, byStudent ? { conditional, unconditional } : { unconditional: before });
        const erase = conditional.sub(unconditional).mse(target);
        const drift = unconditional.mse(before);
        await backward(erase.add(drift.mul(o.driftWeight)));
        const held = await preservation.step(i, batch, backward);
        return { erase: erase.detach(), drift: drift.detach(), ...held };
      });
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of All but One, before defaults. @interface */
export type SpaceOptions = OptionsOf<typeof space>;

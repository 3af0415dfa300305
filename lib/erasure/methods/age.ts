import { rows, type Condition } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { choice, integer, number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { AdversarialWords, adversarialWords } from "../shared/adversarial-words";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { errorIn } from "../shared/prediction-error";
import { fillTemplates } from "../shared/texts";
import { training } from "../shared/training-options";

/**
 * AGE: adaptive guided erasure (Bui et al. 2025, arXiv 2501.18950).
 *
 * Each iteration θ' takes a step on
 *   ‖x̂_θ'(z_t, c_e) - (x̂_θ(z_t, c_t) - η (x̂_θ(z_t, c_e) - x̂_θ(z_t, c_t)))‖² + λ ‖x̂_θ'(z_a, c_t) - x̂_θ(z_a, c_t)‖²
 * and then π a step up ‖x̂_θ'(z_t, c_e) - x̂_θ(z_t, c_t)‖² + λ ‖x̂_θ'(z_a, c_t) - x̂_θ(z_a, c_t)‖². The target c_t is drawn by π
 * from the words around the concept (`WordSearch`), z_t comes from a trajectory towards the concept c_e and z_a from one
 * towards c_t. x̂ is the picture x̂₀ that a prediction leads to; all are means over elements, and θ is the model as it came.
 */
export const age = defineMethod({
  name: "age",
  title: "AGE",
  short: "turns the concept into words around it, and looks for those that it is worst for",
  reference: "arXiv 2501.18950",
  kind: "training",
  cost: "10 UNet evaluations an iteration, 8 where the search goes up one loss",
  entrant: false,
  options: {
    /** η: how far beyond its target the prediction is led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far beyond its target predictions are led", { from: 0 }),
    /** Published for objects; for nudity temperature 2 and "noxattn", for artists 1000 candidates, temperature 2, mixture 5. */
    ...adversarialWords({ candidates: 100, temperature: 0.1 }),
    /** How many words a draw mixes by their weights. Default 1: a draw is one word. */
    mixture: integer(1, "words that a draw mixes", { from: 1 }),
    /**
     * What the search goes up: "both" losses, as the paper has it, or the one that holds words ("hold"): the released
     * script stops the gradients of the other. Default "both".
     */
    ascends: choice("both", ["both", "hold"], "what the search goes up: both losses, or hold alone"),
    ...training(),
    ...trajectories(),
  },
  check: checkTrajectories,
  // Both losses that the search goes up have one.
  keeps: ({ ascends }) => ({ graph: ascends === "both" ? 2 : 1 }),
  async run(job, o) {
    const { base, student, teacher } = job;
    const texts = fillTemplates(job.concepts, o.templates);
    const concepts = await job.encode(texts.map(({ text }) => text)); // (n, L, d)
    const empty = await job.unconditional();
    const error = errorIn(o.space, base.schedule);
    const weights = await job.adam(o);
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards: concepts, empty });
    const adversary = await AdversarialWords.create(job, o, texts, empty);

    await job.iterate(o.iterations, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const concept = rows(concepts, batch.texts);
      const words = await adversary.next(i, batch);
      const [original, other] = await noGrad(() => evaluateEach(teacher, batch, [concept, words.condition]));
      const target = other.sub(original.sub(other).mul(o.negativeGuidance));
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, concept, { grad: true });
        await latents.advance(i, { conditional: predicted });
        const erase = await backward(error(predicted, target, batch));
        const hold = await adversary.step(i, words, backward);
        return { erase, ...hold, ...(await preservation.step(i, batch, backward)) };
      });
      const distance = async (targets: Condition) => {
        const now = await noGrad(() => student.predict(batch, concept));
        return error(now, await teacher.predict(batch, targets, { grad: true }), batch);
      };
      const searched = await adversary.ascend(i, words, o.ascends === "both" ? distance : undefined);
      return { ...losses, ...searched, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of AGE, before defaults. @interface */
export type AgeOptions = OptionsOf<typeof age>;

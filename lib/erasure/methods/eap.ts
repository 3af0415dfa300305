import { repeated, rows } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { AdversarialWords, adversarialWords } from "../shared/adversarial-words";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { errorIn } from "../shared/prediction-error";
import { fillTemplates } from "../shared/texts";
import { training } from "../shared/training-options";

/**
 * EAP: erasing with adversarial preservation (Bui et al. 2024, arXiv 2410.15618).
 *
 * Each iteration θ' takes a step on
 *   ‖x̂_θ'(z_t, c_e) - (x̂_θ(z_t, c_0) - η (x̂_θ(z_t, c_e) - x̂_θ(z_t, c_0)))‖² + λ ‖x̂_θ'(z_a, c_a) - x̂_θ(z_a, c_a)‖²
 * and then π a step up the second term. z_t comes from a trajectory towards the concept c_e, z_a from one towards c_a, a
 * word that is drawn by π from those around the concept (`WordSearch`). x̂ is the picture x̂₀ that a prediction leads to; all
 * are means over elements, c_0 is "", and θ the model as it came.
 */
export const eap = defineMethod({
  name: "eap",
  title: "EAP",
  short: "leads predictions away from the concept, and holds the words that it harms most",
  reference: "arXiv 2410.15618",
  kind: "training",
  cost: "8 UNet evaluations an iteration",
  entrant: false,
  options: {
    /** η: how far the prediction is led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far predictions are led away from the concept", { from: 0 }),
    /** Published for objects and artists; for nudity 200 candidates, 50 words and "noxattn". */
    ...adversarialWords({ candidates: 1000, temperature: 2 }),
    ...training(),
    ...trajectories(),
  },
  check: checkTrajectories,
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
      const none = repeated(empty, batch.texts.length);
      const [conditional, unconditional] = await noGrad(() => evaluateEach(teacher, batch, [concept, none]));
      // x̂ is linear in ε, so that the target is the same in both.
      const target = unconditional.sub(conditional.sub(unconditional).mul(o.negativeGuidance));
      const words = await adversary.next(i, batch);
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, concept, { grad: true });
        await latents.advance(i, { conditional: predicted });
        const erase = await backward(error(predicted, target, batch));
        const hold = await adversary.step(i, words, backward);
        return { erase, ...hold, ...(await preservation.step(i, batch, backward)) };
      });
      const searched = await adversary.ascend(i, words);
      return { ...losses, ...searched, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of EAP, before defaults. @interface */
export type EapOptions = OptionsOf<typeof eap>;

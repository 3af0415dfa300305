import { repeated, rows } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { integer, number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import { defineMethod, type OptionsOf } from "../method";
import { adversarialEmbedding, embeddingAttack, firstNoise } from "../shared/adversarial-embedding";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { fillTemplates } from "../shared/texts";
import { training } from "../shared/training-options";

/**
 * RACE: robust adversarial concept erasure (Kim et al. 2024, arXiv 2405.16341).
 *
 * Each iteration, on z_t of a trajectory that is guided towards the concept c_e, looks for token states c_a near to c_e's
 * that bring the concept back (`adversarialEmbedding`), and θ' takes a step of ESD on them:
 *   ‖ε_θ'(z_t, t, c_a) - (ε_θ(z_t, t, c_0) - η (ε_θ(z_t, t, c_e) - ε_θ(z_t, t, c_0)))‖²,
 * a mean over elements. c_0 is "", and θ the model as it came. The first iterations are ESD's own, with c_e for c_a.
 */
export const race = defineMethod({
  name: "race",
  title: "RACE",
  short: "leads predictions away from the concept, under the embeddings near to it that bring it back",
  reference: "arXiv 2405.16341",
  cost: "4 to 15 UNet evaluations an iteration, 15 with the search",
  kind: "training",
  entrant: false,
  options: {
    /** η: how far the prediction is led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far predictions are led away from the concept", { from: 0 }),
    ...embeddingAttack(),
    /**
     * Share of the iterations that are ESD's, before the search begins. From 0 to 1, default a half: the published runs go
     * on from 1000 iterations of ESD, with a new optimizer, for as many again.
     */
    plain: number(0.5, "share of the iterations that are ESD's, before the search begins", {
      from: 0,
      to: 1,
    }),
    /**
     * Weight of holding each weight where the search began: of the mean distances |θ' - θ_ESD| of all tensors, summed. >= 0,
     * default 0; the paper discusses it, and its script takes 0.1.
     */
    lasso: number(0, "weight of the distance that weights go while the search is on", { from: 0 }),
    ...training(),
    /** Default 2000: the published 1000 of ESD, and 1000 with the search. */
    iterations: integer(2000, "updates of the weights", { from: 1 }),
    ...trajectories(),
  },
  check: checkTrajectories,
  keeps: ({ lasso }) => ({ copies: lasso > 0 ? 1 : 0 }),
  turns: ({ plain, iterations }) => [Math.round(plain * iterations)],
  async run(job, o) {
    const { student, teacher } = job;
    const texts = fillTemplates(job.concepts, o.templates);
    const concepts = await job.encode(texts.map(({ text }) => text)); // (n, L, d)
    const empty = await job.unconditional();
    const weights = await job.adam(o);
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards: concepts, empty });
    const start = o.lasso > 0 ? await job.average(0) : null;
    const plain = Math.round(o.plain * o.iterations);

    /** Σ over tensors of the mean |θ' - θ_ESD|. */
    const distance = (from: ReadonlyMap<string, Tensor>): Tensor =>
      [...job.weights()]
        .map(([name, weight]) => weight.sub(from.get(name)!).abs().mean())
        .reduce((sum, mean) => sum.add(mean));

    await job.iterate(o.iterations, async (i) => {
      if (i === plain) {
        await weights.restart();
        await start?.update();
      }
      const batch = await latents.next(i); // (B, 4, h, w)
      if (plain < o.iterations) firstNoise(batch);
      const concept = rows(concepts, batch.texts);
      const none = repeated(empty, batch.texts.length);
      const [conditional, unconditional] = await noGrad(() => evaluateEach(teacher, batch, [concept, none]));
      const target = unconditional.sub(conditional.sub(unconditional).mul(o.negativeGuidance));
      const found = i < plain ? null : await adversarialEmbedding(job, i, batch, concept, o);
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, found?.condition ?? concept, { grad: true });
        // The trajectory leads towards the concept, not to what was found.
        await latents.advance(i, found === null ? { conditional: predicted } : {});
        const erase = await backward(predicted.mse(target));
        const near = start === null || i < plain ? null : await backward(distance(start.weights()), o.lasso);
        return { erase, lasso: near, ...(await preservation.step(i, batch, backward)) };
      });
      return { attack: found?.loss ?? null, ...losses, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of RACE, before defaults. @interface */
export type RaceOptions = OptionsOf<typeof race>;

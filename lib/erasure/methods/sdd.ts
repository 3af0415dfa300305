import { invalid } from "../../check";
import { repeated, rows } from "../../diffusion/condition";
import { choice, integer, number } from "../../options/kinds";
import { defineMethod, type OptionsOf } from "../method";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { fillTemplates, longest } from "../shared/texts";
import { training } from "../shared/training-options";

/**
 * SDD: safe self-distillation (Kim et al. 2023, arXiv 2307.05977).
 *
 * Each iteration, on z_t and t of a trajectory that is guided towards all concepts as one text, θ' takes a step of AdamW on
 * ‖sg ε_θ'(z_t, t, c_0) - ε_θ'(z_t, t, c_s)‖², a mean over elements: what a concept's text gives is drawn to what the
 * weights give without a text at the moment (sg stops gradients, c_0 is ""). Then θ̄ ← m θ̄ + (1 - m) θ'. The trajectories
 * are those of θ̄, and θ̄ is the result.
 */
export const sdd = defineMethod({
  name: "sdd",
  title: "SDD",
  short: "draws the concept's predictions to the model's own without a text, and averages the weights",
  reference: "arXiv 2307.05977",
  kind: "training",
  cost: "4 UNet evaluations an iteration",
  entrant: false,
  options: {
    /**
     * Which concepts an iteration distils, c_s: one after the other ("in-turn", default), one drawn at "random", or all as
     * one text with commas between ("joined").
     */
    distils: choice(
      "in-turn",
      ["in-turn", "random", "joined"],
      "which concepts an iteration distils: in-turn, random, or joined as one text",
    ),
    /**
     * What trajectories lead towards: all concepts as one text ("joined", default, as in the script), or "one" of them. The
     * paper's pseudo-code has "one", and distils "joined".
     */
    towards: choice(
      "joined",
      ["joined", "one"],
      "what trajectories lead towards: all concepts joined as one text, or one of them",
    ),
    /** m, what an update leaves of the averaged weights. From 0 to 1, default 0.999: a time constant of 1000 updates. */
    momentum: number(0.999, "what an update leaves of the averaged weights", { from: 0, to: 1 }),
    ...training(),
    /** Default 1500, the published. 0.999^1500, 22 %, of the result are then still the weights as they came. */
    iterations: integer(1500, "updates of the weights", { from: 1 }),
    /** AdamW's. >= 0, default 1e-4. */
    weightDecay: number(1e-4, "AdamW's weight decay", { from: 0 }),
    /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
    maxGradientNorm: number(1, "norm that gradients are scaled down to", { above: 0 }),
    ...trajectories(),
  },
  check: checkTrajectories,
  fit(o, { tokenizer }, { concepts }) {
    const places = tokenizer.maxLength;
    const joined = fillTemplates([concepts.join(", ")], o.templates).map(({ text }) => text);
    const tokens = longest(tokenizer, joined);
    if (tokens <= places) return;
    const why = `for these concepts, which as one text have ${tokens} tokens of the ${places} that the model takes,`;
    if (o.towards === "joined") throw invalid("towards", `"one" ${why}`, o.towards);
    if (o.distils === "joined") throw invalid("distils", `"in-turn" or "random" ${why}`, o.distils);
  },
  keeps: () => ({ copies: 1 }),
  async run(job, o) {
    const { student } = job;
    const count = job.concepts.length;
    const phrasings = o.templates.length;
    // One concept after the other in all its phrasings, then all of them as one text.
    const texts = fillTemplates([...job.concepts, job.concepts.join(", ")], o.templates);
    const conditions = await job.encode(texts.map(({ text }) => text)); // ((n + 1) phrasings, L, d)
    const textOf = (concept: number, phrasing: number): number => concept * phrasings + phrasing;
    const from = o.towards === "joined" ? textOf(count, 0) : 0;
    const length = o.towards === "joined" ? phrasings : count * phrasings;
    const towards = rows(conditions, Array.from({ length }, (_, text) => from + text)); // prettier-ignore
    const empty = await job.unconditional();
    const average = await job.average(o.momentum);
    const weights = await job.adam({ ...o, decoupled: true });
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards, empty, by: average.model });

    const distilled = (iteration: number, item: number): number => {
      if (o.distils === "joined") return count;
      if (o.distils === "random") return job.random.at("distilled", iteration, item).below(count);
      return (iteration * o.batchSize + item) % count;
    };
    await job.iterate(o.iterations, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const chosen = batch.texts.map((text, item) => textOf(distilled(i, item), text % phrasings));
      const target = await student.predict(batch, repeated(empty, chosen.length));
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, rows(conditions, chosen), { grad: true });
        const erase = await backward(predicted.mse(target));
        return { erase, ...(await preservation.step(i, batch, backward)) };
      });
      await average.update();
      await latents.advance(i);
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
    await average.write();
  },
});

/** Options of SDD, before defaults. @interface */
export type SddOptions = OptionsOf<typeof sdd>;

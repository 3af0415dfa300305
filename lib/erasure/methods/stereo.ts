import { repeated, type Condition } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { parseSchedule } from "../../nn/schedules";
import { choice, integer, number, schedule, selector, templates } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import { defineMethod, type OptionsOf } from "../method";
import { conceptPictures } from "../shared/concept-pictures";
import { InvertedWords, invertedWords } from "../shared/inverted-words";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import type { LatentBatch } from "../shared/latent-source";
import { checkSubjects } from "../shared/subject-prompt";
import { fillTemplates } from "../shared/texts";
import { training } from "../shared/training-options";

/** Scenes that a concept may stand in: ours. The published runs have dozens of sentences for each concept. */
const ANCHORS = [
  ...["a {} in a field", "a {} by the sea", "a {} in a forest", "a {} in the snow", "a {} at night"],
  ...["a {} on a street", "a {} in front of a wall", "a painting with a {} in it"],
];

/**
 * STEREO: search thoroughly enough, then robustly erase once (Srivatsan et al., CVPR 2025, arXiv 2408.16807).
 *
 * The search: in each round θ' takes steps on ‖ε_θ'(z_t, t, w) - (ε_θr(z_t, t, c_0) - η_s (ε_θr(w) - ε_θr(c_0)))‖², w being
 * the concept c_e in the first round and the word that the last one found in the others, θr the weights as the round found
 * them; then textual inversion finds a word that brings the concept's pictures back on θ'.
 *
 * Then θ' begins once more with the weights as they came, θ, and takes steps on
 *   ‖ε_θ'(z_t, t, w) - (ε_θ(c_0) + a (ε_θ(c_a) - ε_θ(c_0)) - η mean over v of (ε_θ(v) - ε_θ(c_0)))‖²
 * where w and v are the concept and all its words, and the anchor c_a is the concept in some scene: what is left of the
 * sum is the scene. z_t lies on a trajectory of θ' towards w. All are means over elements, c_0 is "".
 */
export const stereo = defineMethod({
  name: "stereo",
  title: "STEREO",
  short: "looks for words that bring the concept back, round after round, then erases it under all of them",
  reference: "arXiv 2408.16807",
  cost: "4 to 7 UNet evaluations an iteration, after drawing the concept's pictures",
  kind: "training",
  entrant: false,
  options: {
    ...invertedWords(),
    /** Updates of the weights in a round of the search. Default 200. */
    searchIterations: integer(200, "updates of the weights in a round of the search", { from: 1 }),
    /** AdamW's rate in the search. Default 5e-6. */
    searchLearningRate: schedule(5e-6, "AdamW's rate for the weights in the search"),
    /** η_s: how far the search leads predictions away from the concept. >= 0, default 0: to the unconditional one. */
    searchGuidance: number(0, "how far the search leads predictions away from the concept", { from: 0 }),
    /** c_a: the concept, "{}", in scenes that are to stay; one is drawn for each item. Default eight, of ours. */
    anchors: templates(ANCHORS, 'the concept in scenes that are to stay, such as "a {} in a field"'),
    /** a: how far predictions are led towards the anchor. >= 0, default 1. */
    anchorGuidance: number(1, "how far predictions are led towards the anchor", { from: 0 }),
    /** η: how far they are led away from the concept and its words. >= 0, default 3. */
    negativeGuidance: number(3, "how far predictions are led away from the concept and its words", {
      from: 0,
    }),
    ...conceptPictures(),
    /** Pictures of each concept that the model makes; each round has another part of them. Default 500. */
    images: integer(500, "pictures of a concept that the model makes to invert", { from: 1 }),
    ...training(),
    /** Updates of the weights in the end. Default 200. */
    iterations: integer(200, "updates of the weights in the end", { from: 1 }),
    /** AdamW's rate in the end. Default 2e-5. */
    learningRate: schedule(2e-5, "AdamW's rate for the weights in the end"),
    /** AdamW's. >= 0, default 1e-2. */
    weightDecay: number(1e-2, "AdamW's weight decay", { from: 0 }),
    /** The weights that may change. Default "noxattn". */
    parameters: selector("noxattn", "weights that may change: a group (noxattn, xattn, ...) or a /pattern/"),
    ...trajectories(),
    /** Ways to name a concept and its words, and what pictures are made of. Default the bare name. */
    templates: templates(["{}"], 'ways to name a concept, such as "a photo of a {}"'),
    /** Where z_t comes from; it is of the method's own texts, so that it can't be given. Default "pool". */
    latents: choice("pool", ["pool", "restart"], "where noisy latents come from: pool, or restart"),
  },
  check: checkTrajectories,
  fit(o, { tokenizer }, { concepts }) {
    InvertedWords.fit(tokenizer, o.vectors, [...o.templates, ...o.inversionTemplates]);
    checkSubjects(tokenizer, concepts, o.anchors);
  },
  keeps: () => ({ copies: 1 }),
  async run(job, o) {
    const { concepts, student, teacher } = job;
    const round = o.searchIterations + o.inversionIterations;
    const searched = o.rounds * round;
    const total = searched + o.iterations;
    const rates = [parseSchedule("searchLearningRate", o.searchLearningRate), parseSchedule("learningRate", o.learningRate)] as const; // prettier-ignore
    const learningRate = (i: number): number =>
      i < searched ? rates[0](i % round, o.searchIterations) : rates[1](i - searched, o.iterations);

    const empty = await job.unconditional();
    const words = await InvertedWords.create(job, o);
    const origin = await job.average(0);
    const weights = await job.adam({ ...o, iterations: total, learningRate, decoupled: true });
    const preservation = await job.preservation(o);
    const fill = (names: readonly string[]): string[] =>
      fillTemplates(names, o.templates).map(({ text }) => text);

    const erase = async (
      named: readonly string[],
      iterations: number,
      target: (batch: LatentBatch, text: Condition, i: number) => Promise<Tensor>,
      held: boolean,
    ): Promise<void> => {
      await weights.restart();
      const latents = await job.latents(o, { towards: words.towards(named), empty });
      const step = async (i: number) => {
        const batch = await latents.next(i); // (B, 4, h, w)
        const text = await words.encode(batch.texts.map((at) => named[at]!));
        const goal = await noGrad(() => target(batch, text, i));
        const losses = await weights.update(i, async (backward) => {
          const predicted = await student.predict(batch, text, { grad: true });
          await latents.advance(i, { conditional: predicted });
          const loss = await backward(predicted.mse(goal));
          return { erase: loss, ...(held ? await preservation.step(i, batch, backward) : {}) };
        });
        return { ...losses, ...(held ? await preservation.search(i, batch) : {}) };
      };
      await job.iterate(iterations, step, undefined, total);
    };

    for (let r = 0; r < o.rounds; r++) {
      await origin.update();
      const away = async (batch: LatentBatch, text: Condition): Promise<Tensor> => {
        const none = repeated(empty, batch.texts.length);
        const [own, unconditional] = await evaluateEach(origin.model, batch, [text, none]);
        return unconditional.sub(own.sub(unconditional).mul(o.searchGuidance));
      };
      await erase(fill(r === 0 ? concepts : words.names(r - 1)), o.searchIterations, away, false);
      const first = r * round + o.searchIterations;
      await job.iterate(o.inversionIterations, (i) => words.step(r, i - first), undefined, total);
    }

    await job.reset();
    const names = [...concepts, ...Array.from({ length: o.rounds }, (_, r) => words.names(r)).flat()];
    const all = fill(names); // one name after the other, each in all templates
    const apart = concepts.length * o.templates.length;
    await erase(
      all,
      o.iterations,
      async (batch, _text, i) => {
        const scenes = batch.texts.map((at, item) => {
          const anchor = o.anchors[job.random.at("anchor", i, item).below(o.anchors.length)]!;
          const concept = concepts[Math.floor((at % apart) / o.templates.length)]!;
          return anchor.replaceAll("{}", () => concept);
        });
        const variants: Condition[] = [];
        for (let v = 0; v <= o.rounds; v++)
          variants.push(await words.encode(batch.texts.map((at) => all[v * apart + (at % apart)]!)));
        const [none, scene, ...own] = (await evaluateEach(teacher, batch, [
          repeated(empty, batch.texts.length),
          await job.encode(scenes),
          ...variants,
        ])) as [Tensor, Tensor, ...Tensor[]];
        const away = own.reduce((sum, each) => sum.add(each)).div(own.length).sub(none); // prettier-ignore
        return none.add(scene.sub(none).mul(o.anchorGuidance)).sub(away.mul(o.negativeGuidance));
      },
      true,
    );
  },
});

/** Options of STEREO, before defaults. @interface */
export type StereoOptions = OptionsOf<typeof stereo>;

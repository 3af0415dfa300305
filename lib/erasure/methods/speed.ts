import { KpopError } from "../../errors";
import { flag, integer, number, templates } from "../../options/kinds";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { defineMethod, type OptionsOf } from "../method";
import { byRidge, editEach, guides, keysAndValues } from "../shared/edit-projections";
import { kMeans } from "../shared/k-means";
import { nullSpaceEdits } from "../shared/null-space";
import { pairRows, promptRows, sourcesAndGuides } from "../shared/paired-rows";
import { encodeRowLists } from "../shared/text-rows";

/** Centres that stand for the states of "" behind its start token. */
const CENTRES = 3;

/**
 * SPEED: concept erasure in the null space of what is held (Li et al. 2025, arXiv 2503.07392).
 *
 * Each value projection W of cross-attention becomes W + Δ, where Δ sends the concepts' token states where W sends their
 * guides', as a ridge regression does, but is 0 on all that a held text can be made of: `nullSpaceEdits` has the equations.
 * What is held (the prompts of `preserve` and the neighbours; the states of "" where there are none) is refined for each
 * projection by the filter, augmented, and joined by the states of "" as invariants. Without those three parts of the prior,
 * and for a small `retainScale`, it is the double projection (Zhang et al. 2026, arXiv 2604.10032) onto the guide.
 */
export const speed = defineMethod({
  name: "speed",
  title: "SPEED",
  short: "sends the concept's values where its guide's go, within the null space of what is held",
  reference: "arXiv 2503.07392",
  kind: "closed form",
  cost: "seconds, no training",
  draws: true,
  entrant: false,
  options: {
    /** `alignment`: default "last-token". For nudity the published run has all rows but the start token's. */
    ...guides("last-token"),
    /** Ways to name a concept, "{}" standing for it and for its guide; all are edited. Default the bare name. */
    templates: templates(["{}"], 'ways to name a concept, such as "a photo of a {}"'),
    /** Whether only those held rows count, for a projection, that the edit harms more than the mean (IPF). Default true. */
    filter: flag(true, "count all held rows, not those alone that are harmed"),
    /** Noisy copies of each held row, of which those count that the edit harms more than their mean (DPA). Default 10. */
    augmentations: integer(10, "noisy copies of each held row, of which the harmed ones count", { from: 0 }),
    /** Whether the start token's state, and three centres of the others of "", stay (IEC). Default true. */
    invariants: flag(true, "let the states of the empty text change"),
    /**
     * Eigenvalues of the held rows' second moment below which a direction is free, > 0. Default 0.1; 1e-4 in the published
     * runs with 10 celebrities and more. It is absolute: for a model with embeddings of another size it wants another.
     */
    threshold: number(0.1, "eigenvalues of the held rows' second moment below which a direction is free", {
      above: 0,
    }),
    /** Weight ρ > 0 of ‖Δ‖². Default 1; 0.05 in the published runs with many celebrities, 0.7 for nudity. */
    retainScale: number(1, "weight of a small change", { above: 0 }),
    /** How soft the invariants are, λ >= 0; 0, the default: they stay exactly. 0.5 in the published run for nudity. */
    lambda: number(0, "how soft the invariants are; 0: they stay exactly", { from: 0 }),
    /** Which keys and values of cross-attention are edited. Default "xattn-v", the values: keys decide on the layout. */
    parameters: keysAndValues("xattn-v"),
  },
  fit: (o, { tokenizer }, { concepts }) =>
    void pairRows(tokenizer, concepts, o.guide, o.templates, o.alignment),
  async run(job, o) {
    const { tokenizer } = job.base;
    checkPreserved(job);
    const pairs = pairRows(tokenizer, job.concepts, o.guide, o.templates, o.alignment);
    const prompts = job.held.map((prompt) => promptRows(tokenizer, prompt, o.alignment));
    const [rows, targets, held, empty] = await encodeRowLists(job, [
      ...sourcesAndGuides(pairs),
      prompts,
      [{ text: "", from: 0, count: tokenizer.maxLength }], // (L, d)
    ]);
    const problem = {
      ...o,
      moved: {
        ...{ rows, targets },
        texts: pairs.flatMap(({ source: { text, count } }) => Array<string>(count).fill(text)),
      },
      held: prompts.length === 0 ? empty.slice(0, 1) : held,
      invariants: o.invariants ? await invariantsOf(empty) : null,
    };
    const edits = await nullSpaceEdits(problem, job.random.at("augmentation"));
    await editEach(job, async (weight, name) => {
      const { edit, free } = await edits(name, weight);
      const { weight: edited, losses } = byRidge(edit, weight);
      return { weight: edited, losses: { ...losses, free } };
    });
  },
});

/** Options of SPEED, before defaults. @interface */
export type SpeedOptions = OptionsOf<typeof speed>;

/** A prompt that names a concept would hold the concept. @throws INVALID_ARGUMENT */
function checkPreserved({ concepts, preserve }: ErasureJob): void {
  // A text without any letter is its symbols.
  const letters = (text: string): string =>
    ` ${
      text
        .toLowerCase()
        .match(/[\p{L}\p{N}]+/gu)
        ?.join(" ") ?? text.trim()
    } `;
  for (const prompt of preserve)
    for (const concept of concepts)
      if (letters(prompt).includes(letters(concept)))
        throw new KpopError(
          "INVALID_ARGUMENT",
          `Expected preserve to name none of the concepts, as "speed" would hold them exactly, but ${JSON.stringify(prompt)} names ${JSON.stringify(concept)}`,
        );
}

/** The start token's state of "", and centres of the others, (4, d). */
async function invariantsOf(empty: Tensor): Promise<Tensor> {
  const [length = 0, width = 0] = empty.shape;
  const elements = Array.from(await empty.data(), Number);
  const rows = Array.from({ length }, (_, row) => elements.slice(row * width, (row + 1) * width));
  const centres = kMeans(rows.slice(1), Math.min(CENTRES, length - 1));
  const states = [rows[0]!, ...centres].flat();
  return Tensor.from(Float64Array.from(states), [1 + centres.length, width], { device: empty.device });
}

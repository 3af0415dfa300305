import { KpopError } from "../../errors";
import { number, templates, texts } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import { wholeWords } from "../../text/vocabulary";
import type { ErasureJob } from "../job";
import { defineMethod, type OptionsOf } from "../method";
import { gram, scaledIdentity } from "../shared/closed-form";
import { editEach, guides, keysAndValues } from "../shared/edit-projections";
import { pairRows, promptRows, sourcesAndGuides } from "../shared/paired-rows";
import { pseudoInverse } from "../shared/spectral";
import { encodeRowLists, encodeRows } from "../shared/text-rows";

/** Ways to name an object, the published ones. */
const TEMPLATES = ["{}", ...["image", "photo", "portrait", "picture", "painting"].map((of) => `${of} of {}`)];
/** Words that stand for texts in general where no captions are given. */
const WORDS = 128;
/** Texts whose states are summed together. */
const TOGETHER = 256;

const OPTIONS = {
  /** `alignment`: default "last-token". More rows span more of the outputs, of which some have to be left. */
  ...guides("last-token"),
  /**
   * Ways to name a concept, "{}" standing for it and for its guide; all are edited. Default the bare name, and an image, a
   * photo, a portrait, a picture and a painting of it, as the published runs on objects. Those on celebrities have the name
   * alone, those on styles "painting by {}" and so on.
   */
  templates: templates(TEMPLATES, 'ways to name a concept, such as "a photo of a {}"'),
  /**
   * Weight α of turning concepts away, >= 0. Default 2000, the published one for objects; 500 for styles, 3000 for nudity, 800
   * to 3500 for celebrities. What counts is how it compares with `globalScale` · ‖W C_g Wᵀ‖: far above, outputs are turned round.
   */
  eraseScale: number(2000, "weight of turning concepts away from what they were", { from: 0 }),
  /** Weight β of texts in general, >= 0. Default 10. */
  globalScale: number(10, "weight of texts in general", { from: 0 }),
  /** Weight γ of each held text, >= 0. Default 1, the published one for styles; objects have 0 there, celebrities 2 to 5. */
  preserveScale: number(1, "weight of each held text", { from: 0 }),
  /** Weight λ > 0 of staying with the old weights. Default 10. */
  lambda: number(10, "weight of staying with the old weights", { above: 0 }),
  /**
   * Texts in general, of all whose states up to the end token C_g is the mean of c cᵀ; the published runs have 30,000
   * captions of COCO. Default none given: 128 whole words of the tokenizer, evenly from its vocabulary.
   */
  captions: texts([], "texts in general; words of the tokenizer where none are given"),
  /** Which keys and values of cross-attention are edited. Default "xattn-v", the values. */
  parameters: keysAndValues("xattn-v"),
};

/**
 * OCE: orthogonal concept erasure (Sun et al. 2026, arXiv 2605.28902).
 *
 * Each value projection W (out, d) of cross-attention becomes R W with a rotation R, which keeps the lengths of all outputs
 * and the angles between them: W'ᵀ W' = Wᵀ W. R is the one with the largest tr(Rᵀ M) (a Procrustes problem),
 *   M = -α (I - G*) G + β W C_g Wᵀ + γ Σ_r (W k_r)(W k_r)ᵀ + λ W Wᵀ,
 * with the orthogonal projections G onto the outputs of the concepts' token states, and G* onto those of their guides.
 */
export const oce = defineMethod({
  name: "oce",
  title: "OCE",
  short: "turns the concept's values away from what they were, as a rotation of all values",
  reference: "arXiv 2605.28902",
  kind: "closed form",
  cost: "seconds, no training",
  entrant: false,
  options: OPTIONS,
  fit: (o, { tokenizer }, { concepts }) =>
    void pairRows(tokenizer, concepts, o.guide, o.templates, o.alignment),
  async run(job, o) {
    const { tokenizer } = job.base;
    const pairs = pairRows(tokenizer, job.concepts, o.guide, o.templates, o.alignment);
    const prompts = job.held.map((prompt) => promptRows(tokenizer, prompt, o.alignment));
    const [keys, guided, states] = await encodeRowLists(job, [...sourcesAndGuides(pairs), prompts]);
    const held = prompts.length === 0 ? null : states;
    const moment = await keptMoment(job, keys.shape[1]!, held, o);
    await editEach(job, async (weight, name) => {
      const before = weight.to("float64");
      const own = await projection(keys, before, name, "concepts"); // G
      const guide = await projection(guided, before, name, "guides"); // G*
      const away = own.sub(guide.matmul(own)).mul(o.eraseScale);
      const kept = before.matmul(moment).matmul(before.transpose(0, 1));
      const after = kept.sub(away).nearestRotation().matmul(before);
      const [was, is] = [before, after].map((of) => keys.matmul(of.transpose(0, 1))) as [Tensor, Tensor];
      const cosine = is.mul(was).sum(1).div(lengthsOf(was).squeeze(1).square()).mean();
      const preserve = held?.matmul(after.sub(before).transpose(0, 1)).square().mean() ?? null;
      return { weight: after, losses: { cosine, preserve } };
    });
  },
});

/** Options of OCE, before defaults. @interface */
export type OceOptions = OptionsOf<typeof oce>;

/** β C_g + γ Σ k kᵀ + λ I, (d, d). */
async function keptMoment(
  job: ErasureJob,
  width: number,
  held: Tensor | null,
  o: Pick<Complete<typeof OPTIONS>, "captions" | "globalScale" | "preserveScale" | "lambda">,
): Promise<Tensor> {
  const { device, tokenizer } = job.base;
  const words = await wholeWords(tokenizer);
  const apart = Math.ceil(words.length / WORDS);
  const general = o.captions.length > 0 ? o.captions : ["", ...words.filter((_, i) => i % apart === 0)];
  const rows = general.map((text) => {
    const [ids] = tokenizer.encode([text], { padding: false, truncation: true });
    return { text, from: 0, count: ids!.length };
  });
  return scope(async () => {
    let sum = scaledIdentity(width, 0, device);
    for (let first = 0; first < rows.length; first += TOGETHER)
      sum = await scope(async () => {
        const states = await encodeRows(job, rows.slice(first, first + TOGETHER));
        return sum.add(gram(states, states));
      });
    const mean = sum.div(rows.reduce((all, { count }) => all + count, 0)); // C_g
    const stay = scaledIdentity(width, o.lambda, device).add(mean.mul(o.globalScale));
    return held === null ? stay : stay.add(gram(held, held).mul(o.preserveScale));
  });
}

/**
 * The orthogonal projection onto the outputs of some inputs, (out, out).
 * @throws INVALID_ARGUMENT where they span all outputs
 */
async function projection(rows: Tensor, weight: Tensor, name: string, whose: string): Promise<Tensor> {
  const [out = 0] = weight.shape;
  const [count = 0] = rows.shape;
  const outputs = rows.matmul(weight.transpose(0, 1));
  const units = outputs.div(lengthsOf(outputs)); // (n, out)
  const few = count <= out;
  const products = few ? units.matmul(units.transpose(0, 1)) : gram(units, units);
  const { inverse, rank } = pseudoInverse(products, units.square().sum());
  const spanned = await rank.item();
  if (spanned === out)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected the ${whose}' token rows to leave some of the outputs of ${name} alone but the ${count} rows span all ${out} directions: give fewer templates or concepts, or the alignment "last-token"`,
    );
  return few ? units.transpose(0, 1).matmul(inverse).matmul(units) : products.matmul(inverse);
}

/** Norms of rows, (n, 1), above 0. */
function lengthsOf(rows: Tensor): Tensor {
  return rows.square().sum(1, true).sqrt().clamp(Number.MIN_VALUE, Infinity);
}

import { either, number, choice, perConcept, templates, text } from "../../options/kinds";
import { alias } from "../../options/option";
import { Tensor } from "../../runtime/tensor";
import { defineMethod, type OptionsOf } from "../method";
import { editProjections, keysAndValues } from "../shared/edit-projections";
import { pairRows, promptRows, type RowPair } from "../shared/paired-rows";
import { encodeRows } from "../shared/text-rows";

const GUIDE = perConcept(
  text("", "text that the concepts are turned into: one for all, or one for each", { blank: true }),
);

/**
 * UCE: unified concept editing (arXiv 2308.14761).
 *
 * Every key and value projection W of cross-attention is replaced by the minimiser of
 *   Σ_e s_e ‖W' k_e - v_e‖² + Σ_r s_r ‖W' k_r - W k_r‖² + λ ‖W' - W‖²_F
 * where k_e are token states of the concepts, v_e = W g_e what W gives for their guides', and k_r token states of the
 * prompts to preserve and the neighbours (eq. 7). No network is evaluated but the text encoder, and no step is random.
 * Moderation, in the paper's sense, is erasing a list of names for what is unwanted.
 */
export const uce = defineMethod({
  name: "uce",
  title: "UCE",
  short: "sends the concept's keys and values where its guide's go",
  reference: "arXiv 2308.14761",
  kind: "closed form",
  entrant: { templates: ["{}", "a photo of a {}"] },
  options: {
    /**
     * What the concepts are to give instead: one text for all, or one for each. Default "", which with the bare name as
     * template stands for the start token; the paper takes "art" for artists.
     */
    guide: GUIDE,
    /** The same as `guide`. */
    target: alias("guide", GUIDE),
    /**
     * "last-token": the row of the concept's last token goes where that of its guide goes; of prompts to preserve
     * the last token is held. The authors' current script.
     * "tail": also all rows behind, end tokens included, as far as both texts have them; of prompts to preserve all rows
     * are held. Their first script, on which RECE builds.
     * "all": row i of the text goes where row i of the guide's goes; of prompts to preserve all rows are held.
     *
     * Default "tail": the rows behind the last token know the concept as well. On an earlier built-in model, with the twelve
     * phrasings of its captions as templates, "last-token" left four churches of four (guide "", "a photo"), "tail" none
     * (guide "dog", five prompts preserved).
     */
    alignment: choice(
      "tail",
      ["last-token", "tail", "all"],
      'token rows that are edited: "last-token", "tail" (it and all behind) or "all"',
    ),
    /** Weight of a concept's rows, > 0. Default 1. */
    eraseScale: number(1, "weight of the concepts' token rows", { above: 0 }),
    /**
     * Weight of the held texts' rows, >= 0; "shared" is max(0.1, 1/n) for n texts, neighbours counted. "auto", the
     * default, is "shared", and 1 for "last-token".
     */
    preserveScale: either(
      number(1, "weight of the preserved prompts' token rows; shared is max(0.1, 1/prompts)", { from: 0 }),
      ["shared", "auto"],
      "auto",
    ),
    /** Weight λ > 0 of staying with the old weights. Default 0.5. */
    lambda: number(0.5, "weight of staying with the old weights", { above: 0 }),
    /**
     * "replace" (default): the target is the guide's output. "tensor": that output without its component along the
     * concept's own, both taken as one (rows × channels) matrix.
     */
    technique: choice(
      "replace",
      ["replace", "tensor"],
      '"replace" by what the guide gives, or by what is left of it off the concept\'s ("tensor")',
    ),
    /** Ways to name a concept, "{}" standing for it and for its guide; all are edited. Default the bare name. */
    templates: templates(["{}"], 'ways to name a concept, such as "a photo of a {}"'),
    /** Which keys and values of cross-attention are edited. Default "xattn-kv", all; /attn2\.to_k/ the keys alone. */
    parameters: keysAndValues(),
  },
  fit: (o, { tokenizer }, { concepts }) =>
    void pairRows(tokenizer, concepts, o.guide, o.templates, o.alignment),
  async run(job, o) {
    const { tokenizer } = job.base;
    const pairs = pairRows(tokenizer, job.concepts, o.guide, o.templates, o.alignment);
    const held = job.held.map((prompt) => promptRows(tokenizer, prompt, o.alignment));
    const keys = await encodeRows(job, pairs.map(({ source }) => source)); // prettier-ignore
    const guides = await encodeRows(job, pairs.map(({ guide }) => guide)); // prettier-ignore
    const replace = o.technique === "replace";
    const problem = {
      moved: { rows: keys, weights: o.eraseScale, ...(replace ? { targets: guides } : {}) },
      ...(held.length === 0
        ? {}
        : { held: { rows: await encodeRows(job, held), weights: heldWeight(o, held.length) } }),
      lambda: o.lambda,
    };
    if (replace) return editProjections(job, problem);
    const membership = rowsOfTexts(pairs, keys.device);
    await editProjections(job, problem, (weight) => withoutOwn(weight, keys, guides, membership));
  },
});

/** Options of UCE, before defaults. */
export type UceOptions = OptionsOf<typeof uce>;

function heldWeight(
  { alignment, preserveScale }: { alignment: string; preserveScale: number | "shared" | "auto" },
  prompts: number,
): number {
  if (typeof preserveScale === "number") return preserveScale;
  if (preserveScale === "auto" && alignment === "last-token") return 1;
  return Math.max(0.1, 1 / prompts);
}

/**
 * The targets of "tensor", V - <V, U> U, (n, out), text by text, with V the guide's outputs and U the concept's, divided
 * by their norm.
 * @param membership 1 where a row (n) belongs to a text (T), else 0, (T, n)
 */
function withoutOwn(weight: Tensor, keys: Tensor, guides: Tensor, membership: Tensor): Tensor {
  const projection = weight.to("float64").transpose(0, 1); // (d, out)
  const own = keys.matmul(projection); // (n, out)
  const given = guides.matmul(projection); // (n, out)
  const byText = (products: Tensor): Tensor => membership.matmul(products.sum(1, true)); // (T, 1)
  // Where the concept has no output, nothing lies along it.
  const share = byText(own.mul(given)).div(byText(own.square()).clamp(Number.MIN_VALUE, Infinity));
  return given.sub(own.mul(membership.transpose(0, 1).matmul(share)));
}

/** (T, n) float64. */
function rowsOfTexts(pairs: readonly RowPair[], device: string): Tensor {
  const total = pairs.reduce((sum, { source }) => sum + source.count, 0);
  const elements = new Float64Array(pairs.length * total);
  let start = 0;
  pairs.forEach(({ source: { count } }, index) => {
    elements.fill(1, index * total + start, index * total + start + count);
    start += count;
  });
  return Tensor.from(elements, [pairs.length, total], { device });
}

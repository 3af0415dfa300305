import { either, number, choice, templates } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { defineMethod, type OptionsOf } from "../method";
import { editProjections, guides, keysAndValues } from "../shared/edit-projections";
import { pairRows, promptRows, sourcesAndGuides, type RowPair } from "../shared/paired-rows";
import { encodeRowLists } from "../shared/text-rows";

/** Options of UCE. */
export const UCE_OPTIONS = {
  /**
   * `alignment`: "last-token" is the authors' current script; "tail" their first one, on which RECE builds. Default "tail":
   * the rows behind the last token know the concept as well. On an earlier built-in model, with the twelve phrasings of its
   * captions as templates, "last-token" left four churches of four (guide "", "a photo"), "tail" none (guide "dog", five
   * prompts preserved).
   */
  ...guides("tail"),
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
};

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
  cost: "seconds, no training",
  entrant: { templates: ["{}", "a photo of a {}"] },
  options: UCE_OPTIONS,
  fit: (o, { tokenizer }, { concepts }) =>
    void pairRows(tokenizer, concepts, o.guide, o.templates, o.alignment),
  run: (job, o) => editAsUce(job, o, job.held),
});

/** Options of UCE, before defaults. @interface */
export type UceOptions = OptionsOf<typeof uce>;

/**
 * UCE's edit of the model as it came.
 * @param texts to hold
 * @param total parts of the whole run, where other edits follow
 */
export async function editAsUce(
  job: ErasureJob,
  o: Complete<typeof UCE_OPTIONS>,
  texts: readonly string[],
  total?: number,
): Promise<void> {
  const { tokenizer } = job.base;
  const pairs = pairRows(tokenizer, job.concepts, o.guide, o.templates, o.alignment);
  const held = texts.map((text) => promptRows(tokenizer, text, o.alignment));
  const [keys, guided, kept] = await encodeRowLists(job, [...sourcesAndGuides(pairs), held]);
  const replace = o.technique === "replace";
  const problem = {
    moved: { rows: keys, weights: o.eraseScale, ...(replace ? { targets: guided } : {}) },
    ...(held.length === 0 ? {} : { held: { rows: kept, weights: heldWeight(o, held.length) } }),
    lambda: o.lambda,
  };
  const valuesOf = replace ? undefined : withoutOwn(pairs, keys, guided);
  await editProjections(job, problem, { valuesOf, ...(total === undefined ? {} : { total }) });
}

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
 */
function withoutOwn(pairs: readonly RowPair[], keys: Tensor, guided: Tensor): (weight: Tensor) => Tensor {
  const membership = rowsOfTexts(pairs, keys.device); // 1 where a row (n) belongs to a text (T), else 0, (T, n)
  const byText = (products: Tensor): Tensor => membership.matmul(products.sum(1, true)); // (T, 1)
  return (weight) => {
    const projection = weight.to("float64").transpose(0, 1); // (d, out)
    const own = keys.matmul(projection); // (n, out)
    const given = guided.matmul(projection); // (n, out)
    // Where the concept has no output, nothing lies along it.
    const share = byText(own.mul(given)).div(byText(own.square()).clamp(Number.MIN_VALUE, Infinity));
    return given.sub(own.mul(membership.transpose(0, 1).matmul(share)));
  };
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

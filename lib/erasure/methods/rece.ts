import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { callback, choice, integer, number } from "../../options/kinds";
import { group, type Complete } from "../../options/option";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { defineMethod, type OptionsOf } from "../method";
import { BestRound, type RoundScore } from "../shared/best-round";
import { factorise, gram, scaledIdentity } from "../shared/closed-form";
import { editProjections } from "../shared/edit-projections";
import { pairRows, promptRows, sourcesAndGuides } from "../shared/paired-rows";
import { encodeRowLists } from "../shared/text-rows";
import { editAsUce, UCE_OPTIONS } from "./uce";

const { guide, target, templates, parameters, ...start } = UCE_OPTIONS;
const OPTIONS = {
  ...{ guide, target, templates, parameters },
  /** How UCE begins. Default as UCE, which is as the published runs began; "" is held in any case. */
  start: group(start, "of UCE, which it begins with"),
  /** Rounds behind UCE's. Default 1, published for objects and styles; nudity has 3. */
  epochs: integer(1, "rounds of derived embeddings behind UCE's edit", { from: 0 }),
  /**
   * What keeps a derived embedding from growing: "zero" (default) draws it to 0, "standard" to the guide's, and "surrogate"
   * moves its outputs to the concept's present ones.
   */
  regularizer: choice(
    "zero",
    ["zero", "standard", "surrogate"],
    "what derived embeddings are drawn to: zero, the guide's (standard), or their outputs' surrogate",
  ),
  /**
   * Weight λ_r > 0 of that. Default 1e-3. It is not free of scale: what counts is how it compares with the eigenvalues of
   * Σ W'ᵀW', and far above them nothing is derived.
   */
  regularScale: number(1e-3, "weight of what derived embeddings are drawn to", { above: 0 }),
  /** Weight of the derived rows, > 0. Default 1. */
  eraseScale: number(1, "weight of the derived embeddings' rows", { above: 0 }),
  /** Weight of the held texts' rows in each round, >= 0. Default 0.1. */
  preserveScale: number(0.1, "weight of the held texts' rows in each round", { from: 0 }),
  /** Weight λ > 0 of staying with the weights that a round begins with. Default 0.1. */
  lambda: number(0.1, "weight of staying with a round's first weights", { above: 0 }),
  /** Chooses the round: that with the highest score stays, the first of equals. Without it the last one does. */
  validate: callback<RoundScore>("scores a round; the best one stays"),
};

/**
 * RECE: reliable and efficient concept erasure (Gong et al. 2024, arXiv 2407.12383).
 *
 * After UCE's edit, each round derives the embedding c' that gives from the present W' what a concept's c gave from the
 * original W, over all keys and values at once,
 *   c' = argmin Σ_j ‖W'_j c' - W_j c‖² + λ_r ‖c'‖² = (λ_r I + Σ_j W'_jᵀ W'_j)⁻¹ (Σ_j W'_jᵀ W_j) c,
 * for each of the L token states, and edits W' as UCE does: row i of c' goes where W' sends row i of the guide's, all rows
 * of "" and of the held texts stay, and ‖W'' - W'‖² is kept small.
 */
export const rece = defineMethod({
  name: "rece",
  title: "RECE",
  short: "UCE, then the same on embeddings that would bring the concept back",
  reference: "arXiv 2407.12383",
  kind: "closed form",
  cost: "seconds, no training",
  entrant: false,
  options: OPTIONS,
  fit(o, { tokenizer }, { concepts }) {
    for (const alignment of [o.start.alignment, "all"] as const)
      pairRows(tokenizer, concepts, o.guide, o.templates, alignment);
  },
  unforeseen: ({ validate }) => (validate === undefined ? {} : { validate: () => 0 }),
  async run(job, o) {
    const { tokenizer } = job.base;
    const texts = [...new Set(["", ...job.held])];
    const parts = job.trained.length + (o.validate === undefined ? 0 : 1);
    const total = (o.epochs + 1) * parts;
    const best = new BestRound(job, o.validate, total);
    const shared = { guide: o.guide, templates: o.templates, parameters: o.parameters };
    await editAsUce(job, { ...o.start, ...shared }, texts, total);
    await best.look(0);

    const pairs = pairRows(tokenizer, job.concepts, o.guide, o.templates, "all");
    const rowsHeld = texts.map((text) => promptRows(tokenizer, text, "all"));
    const [concepts, guides, held] = await encodeRowLists(job, [...sourcesAndGuides(pairs), rowsHeld]);
    for (let round = 1; round <= o.epochs; round++) {
      await scope(async () => {
        const rows = await derivedRows(
          stacked(job, job.student),
          stacked(job, job.teacher),
          concepts,
          guides,
          o,
        );
        const problem = {
          moved: { rows, targets: guides, weights: o.eraseScale },
          held: { rows: held, weights: o.preserveScale },
          lambda: o.lambda,
        };
        await editProjections(job, problem, { from: job.student, total });
      });
      await best.look(round);
    }
    await best.restore();
  },
});

/** Options of RECE, before defaults. @interface */
export type ReceOptions = OptionsOf<typeof rece>;

/** The trained projections below each other, (Σ out, d) float64. */
function stacked({ trained }: ErasureJob, { unet }: StableDiffusion): Tensor {
  return Tensor.cat(trained.map((name) => unet.parameter(name))).to("float64");
}

/**
 * The embeddings c' that give from the present weights what others gave from the original ones.
 * @param present all W' below each other, (Σ out, d) float64
 * @param original all W, in the same order
 * @param concepts rows c, (n, d) float64
 * @param guides rows c_a of their guides, (n, d) float64
 * @returns (n, d) float64
 * @throws NUMERIC_FAILURE where the sum of W'ᵀW' is singular and nothing is added to it
 */
export async function derivedRows(
  present: Tensor,
  original: Tensor,
  concepts: Tensor,
  guides: Tensor,
  { regularizer, regularScale }: Pick<Complete<typeof OPTIONS>, "regularizer" | "regularScale">,
): Promise<Tensor> {
  return scope(async () => {
    const own = gram(present, present); // S = Σ W'ᵀW' (d, d)
    const given = gram(present, original).matmul(concepts.transpose(0, 1)); // Σ W'ᵀW c (d, n)
    const surrogate = regularizer === "surrogate";
    const ridge = surrogate ? own : scaledIdentity(own.shape[0]!, 1, own.device);
    const towards = surrogate ? own.matmul(concepts.transpose(0, 1)) : guides.transpose(0, 1);
    const wanted = regularizer === "zero" ? given : given.add(towards.mul(regularScale));
    const factor = await factorise(
      own.add(ridge.mul(regularScale)),
      `for derived embeddings they are not: raise regularScale, ${regularScale}, or take the regularizer "zero" or "standard"`,
    );
    return wanted.choleskySolve(factor).transpose(0, 1).contiguous();
  });
}

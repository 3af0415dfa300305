import { choice, perConcept, selectorAmong, text } from "../../options/kinds";
import { alias, type Option } from "../../options/option";
import type { ParameterSelector } from "../../models/parameter-selector";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { Losses } from "../../training/player";
import type { ErasureJob } from "../job";
import { applyRidgeEdit, ridgeEdit, type RidgeEdit, type RidgeProblem } from "./closed-form";
import type { RowAlignment } from "./paired-rows";

/** Which keys and values of cross-attention a closed form edits. */
export function keysAndValues(initial: ParameterSelector = "xattn-kv"): Option<ParameterSelector> {
  return selectorAmong(initial, "keys and values that may change: xattn-kv, xattn-v, or a /pattern/", {
    pattern: /\.attn2\.to_[kv]\.weight$/,
    called: "the keys and values of cross-attention",
  });
}

const GUIDE = perConcept(
  text("", "text that the concepts are turned into: one for all, or one for each", { blank: true }),
);

/** What the concepts are to give instead, and which rows of the texts are edited. */
export function guides<D extends RowAlignment>(alignment: D) {
  return {
    /**
     * What the concepts are to give instead: one text for all, or one for each. Default "", which with the bare name as
     * template stands for the start token; papers take "art" for artists.
     */
    guide: GUIDE,
    /** The same as `guide`. */
    target: alias("guide", GUIDE),
    /**
     * "last-token": the row of the concept's last token goes where that of its guide goes; of held texts the last token
     * is held. "tail": also all rows behind, end tokens included, as far as both texts have them; of held texts all rows.
     * "all": row i of the text goes where row i of the guide's goes; of held texts all rows.
     */
    alignment: choice<RowAlignment>(
      alignment,
      ["last-token", "tail", "all"],
      'token rows that are edited: "last-token", "tail" (it and all behind) or "all"',
    ),
  };
}

/** What an edit makes of a projection, and what it reports. */
export interface EditedWeight {
  /** W', (out, d), any floating dtype. */
  readonly weight: Tensor;
  readonly losses: Losses;
}

/** Edits of which each is one of several in a run. */
export interface EditPlace {
  /** Whose weights are edited. Default the teacher's, which are those of the model as it came. */
  readonly from?: ErasureJob["teacher"];
  /** Parts of the whole run, when there are others. */
  readonly total?: number;
}

/** Edits all trained projections W (out, d), one after the other, and reports what `edit` says of each. */
export async function editEach(
  job: ErasureJob,
  edit: (weight: Tensor, name: string) => EditedWeight | Promise<EditedWeight>,
  { from = job.teacher, total = job.trained.length }: EditPlace = {},
): Promise<void> {
  const { student, trained } = job;
  await job.closedForm(
    trained.length,
    async (index) => {
      const name = trained[index]!;
      const { weight, losses } = await noGrad(() => edit(from.unet.parameter(name), name));
      await student.unet.parameter(name).copyFrom(weight);
      return losses;
    },
    total,
  );
}

/**
 * Edits all trained projections by one ridge problem. Reports of each `erase`, the mean of (W'k - v)² over the moved
 * inputs, and `preserve`, the mean of (W'k - Wk)² over the held ones.
 * @param valuesOf v of a projection W (out, d), (n, out), where the problem has no targets
 */
export async function editProjections(
  job: ErasureJob,
  problem: RidgeProblem,
  { valuesOf, ...place }: EditPlace & { readonly valuesOf?: ((weight: Tensor) => Tensor) | undefined } = {},
): Promise<void> {
  const edit = await ridgeEdit(problem);
  await editEach(job, (weight) => byRidge(edit, weight, valuesOf?.(weight)), place);
}

/** A projection as `applyRidgeEdit` edits it, with its reports. */
export function byRidge(edit: RidgeEdit, weight: Tensor, values?: Tensor): EditedWeight {
  const { weight: edited, movedError, heldError } = applyRidgeEdit(edit, weight, values);
  return { weight: edited, losses: { erase: movedError, preserve: heldError } };
}

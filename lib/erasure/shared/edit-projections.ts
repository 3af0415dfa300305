import { invalid } from "../../check";
import { selector } from "../../options/kinds";
import type { Option } from "../../options/option";
import { selectParameters, type ParameterSelector } from "../../models/parameter-selector";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { applyRidgeEdit, ridgeEdit, type RidgeProblem } from "./closed-form";

/** Which keys and values of cross-attention a closed form edits. */
export function keysAndValues(): Option<ParameterSelector> {
  const any = selector("xattn-kv", "keys and values that may change: xattn-kv, or a /pattern/");
  return {
    ...any,
    fit(name, value, { unet }) {
      const selected = selectParameters(value, unet.parameterNames());
      const other = selected.find((key) => !/\.attn2\.to_[kv]\.weight$/.test(key));
      if (other !== undefined)
        throw invalid(name, "a choice among the keys and values of cross-attention", other);
    },
  };
}

/**
 * Edits all trained projections by one ridge problem, one after the other. Reports of each `erase`, the mean of
 * (W'k - v)² over the moved inputs, and `preserve`, the mean of (W'k - Wk)² over the held ones.
 * @param valuesOf v of a projection W (out, d), (n, out), where the problem has no targets
 */
export async function editProjections(
  job: ErasureJob,
  problem: RidgeProblem,
  valuesOf?: (weight: Tensor) => Tensor,
): Promise<void> {
  const { student, teacher, trained } = job;
  const edit = await ridgeEdit(problem);
  await job.closedForm(trained.length, async (index) => {
    const name = trained[index]!;
    const weight = teacher.unet.parameter(name); // (out, d)
    const values = valuesOf === undefined ? undefined : noGrad(() => valuesOf(weight));
    const { weight: edited, movedError, heldError } = applyRidgeEdit(edit, weight, values);
    await student.unet.parameter(name).copyFrom(edited);
    return { erase: movedError, preserve: heldError };
  });
}

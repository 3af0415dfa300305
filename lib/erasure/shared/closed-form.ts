import { finite, invalid } from "../../check";
import { KpopError } from "../../errors";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";

/** Inputs of a projection, as rows, and how much each counts. */
export interface WeightedRows {
  /** (n, d). */
  readonly rows: Tensor;
  /** s ≥ 0, one for all rows, or (n). */
  readonly weights: number | Tensor;
}

/** What is asked of every projection W (out, d) that reads the same inputs. */
export interface RidgeProblem {
  /** Inputs k_i that are to give values v_i, which each projection has of its own. */
  readonly moved: WeightedRows;
  /** Inputs that are to give what W gives for them. */
  readonly held?: WeightedRows;
  /** Weight λ of ‖W' - W‖²_F, in the units of s‖k‖². */
  readonly lambda: number;
}

/** A factorised problem: all that does not depend on the projection, in float64. */
export interface RidgeEdit {
  /** K, the moved inputs, (n, d). */
  readonly keys: Tensor;
  /** S K A⁻¹, (n, d): what an error of the values, row by row, changes W by. */
  readonly gain: Tensor;
  /** What shows how far the held inputs' outputs drift: their number m, and gain · Hᵀ H, (n, d), H being their rows. */
  readonly held: { readonly count: number; readonly gain: Tensor } | null;
}

/** One projection after the edit. */
export interface EditedProjection {
  /** W' in float64, (out, d). */
  readonly weight: Tensor;
  /** Mean of (W'k - v)² over the moved inputs' outputs, a scalar. */
  readonly movedError: Tensor;
  /** Mean of (W'k - Wk)² over the held inputs' outputs, a scalar; null where none are held. */
  readonly heldError: Tensor | null;
}

/**
 * Prepares the closed-form edit that UCE (arXiv 2308.14761, eq. 7), TIME (arXiv 2303.08084) and their kin share:
 *
 *   W' = argmin Σ s_i ‖W' k_i - v_i‖² + λ ‖W' - W‖²_F = (λ W + Σ s_i v_i k_iᵀ) A⁻¹,  A = λ I + Σ s_i k_i k_iᵀ.
 *
 * A is the same for all projections: one Cholesky factorisation in float64 serves them all. Held inputs enter A alone,
 * because written as W' = W + Σ s_i (v_i - W k_i) k_iᵀ A⁻¹ their terms vanish; and a large λ leaves W bit for bit.
 *
 * @param problem rows of any floating dtype; everything is computed in float64 on their device
 * @returns tensors to dispose, or to make inside of a scope
 * @throws INVALID_ARGUMENT on shapes that do not fit or a λ below 0; NUMERIC_FAILURE where A has no Cholesky factor
 */
export async function ridgeEdit(problem: RidgeProblem): Promise<RidgeEdit> {
  const { moved, held, lambda } = problem;
  finite("lambda", lambda, 0);
  const width = checkRows("moved", moved);
  if (held !== undefined) checkRows("held", held, width);
  return scope(() =>
    noGrad(async () => {
      const scaled = scaledRows(moved); // S K (n, d)
      const ridge = scaledIdentity(width, lambda, scaled.device).add(gram(scaled, moved.rows));
      const system = held === undefined ? ridge : ridge.add(gram(scaledRows(held), held.rows)); // A (d, d)
      const factor = await factorise(system, lambda);
      const gain = scaled.transpose(0, 1).choleskySolve(factor).transpose(0, 1).contiguous(); // (n, d)
      const drift =
        held === undefined
          ? null
          : { count: held.rows.shape[0]!, gain: gain.matmul(gram(held.rows, held.rows)) };
      // Rows given in float64 are not copied by `to`; the edit has to outlive them.
      return { keys: moved.rows.to("float64").clone(), gain, held: drift };
    }),
  );
}

/**
 * Edits one projection. Returns at once, as tensor operations do.
 * @param weight W, (out, d), any floating dtype
 * @param values v_i as rows, (n, out), in the order of the moved inputs
 * @throws INVALID_ARGUMENT on shapes that do not fit
 */
export function applyRidgeEdit(edit: RidgeEdit, weight: Tensor, values: Tensor): EditedProjection {
  const [count, width] = edit.keys.shape as [number, number];
  const [out = 0, inputs] = weight.shape;
  if (weight.shape.length !== 2 || inputs !== width)
    throw invalid("weight", `of shape (out, ${width})`, weight.shape);
  if (values.shape.join() !== `${count},${out}`)
    throw invalid("values", `of shape (${count}, ${out})`, values.shape);
  return scope(() =>
    noGrad(() => {
      const before = weight.to("float64");
      const wanted = values.to("float64");
      const missing = wanted.sub(edit.keys.matmul(before.transpose(0, 1))).transpose(0, 1); // (out, n)
      const change = missing.matmul(edit.gain); // (out, d)
      const after = before.add(change);
      const movedError = edit.keys.matmul(after.transpose(0, 1)).mse(wanted);
      // ‖ΔW Hᵀ‖² = <ΔW, ΔW HᵀH>, which never makes the (m, out) outputs.
      const heldError =
        edit.held === null
          ? null
          : missing
              .matmul(edit.held.gain)
              .mul(change)
              .sum()
              .div(edit.held.count * out);
      return { weight: after, movedError, heldError };
    }),
  );
}

function scaledRows({ rows, weights }: WeightedRows): Tensor {
  const double = rows.to("float64");
  return double.mul(typeof weights === "number" ? weights : weights.to("float64").unsqueeze(1));
}

/** Σ a_i b_iᵀ over rows, (d, d). */
function gram(a: Tensor, b: Tensor): Tensor {
  return a.to("float64").transpose(0, 1).matmul(b.to("float64"));
}

function scaledIdentity(size: number, value: number, device: string): Tensor {
  const elements = new Float64Array(size * size);
  for (let i = 0; i < size; i++) elements[i * size + i] = value;
  return Tensor.from(elements, [size, size], { device });
}

async function factorise(system: Tensor, lambda: number): Promise<Tensor> {
  try {
    return await system.cholesky().settled();
  } catch (cause) {
    if (!(cause instanceof KpopError) || cause.code !== "NUMERIC_FAILURE") throw cause;
    throw new KpopError(
      "NUMERIC_FAILURE",
      `Expected the normal equations of the closed form to be positive definite in float64 but with lambda ${lambda} they are not: raise lambda`,
      { cause },
    );
  }
}

/** @returns d */
function checkRows(name: string, { rows, weights }: WeightedRows, width?: number): number {
  const [count, columns] = rows.shape;
  if (rows.shape.length !== 2 || count === 0 || columns !== (width ?? columns))
    throw invalid(`the ${name} rows`, `of shape (n, ${width ?? "d"}), n >= 1`, rows.shape);
  if (typeof weights === "number") finite(`the ${name} rows' weight`, weights, 0);
  else if (weights.shape.join() !== String(count))
    throw invalid(`the ${name} rows' weights`, `of shape (${count})`, weights.shape);
  return columns!;
}

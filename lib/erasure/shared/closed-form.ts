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
  /**
   * Inputs k_i that are to give values v_i. With `targets` (n, d), inputs g_i, the values are what W gives for those,
   * v_i = W g_i; without, each projection comes with values of its own.
   */
  readonly moved: WeightedRows & { readonly targets?: Tensor };
  /** Inputs that are to give what W gives for them. */
  readonly held?: WeightedRows;
  /** Weight λ of ‖W' - W‖²_F, in the units of s‖k‖². */
  readonly lambda: number;
}

/** A factorised problem: all that does not depend on the projection, in float64. W' = W + B · gain. */
export interface RidgeEdit {
  readonly moved: MovedRows | FoldedRows;
  /** (n, d) or, folded, (d, d). */
  readonly gain: Tensor;
  /** For how far the held inputs' outputs drift: their number m, and gain · HᵀH · gainᵀ, H being their rows. */
  readonly held: { readonly count: number; readonly drift: Tensor } | null;
}

/** B (out, n) is what the outputs lack of their values, and gain S K A⁻¹. */
interface MovedRows {
  readonly form: "rows";
  /** K, (n, d), where each projection brings its values; G - K where those are W's own. */
  readonly rows: Tensor;
  /** Which of both. */
  readonly targeted: boolean;
  /** gain · Kᵀ - 1, (n, n): what is left of B. */
  readonly left: Tensor;
}

/** B (out, d) is W itself, because v_i - W k_i = W (g_i - k_i), and gain (G - K)ᵀ S K A⁻¹. */
interface FoldedRows {
  readonly form: "folded";
  /** n. */
  readonly count: number;
  /** XᵀX, (d, d), of the rows x_i that W maps to the errors left: W'k_i - v_i = W x_i. */
  readonly residue: Tensor;
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
 * With targets, n rows cost a projection no more than about d/2 do: beyond, the sums over rows are taken first.
 *
 * @param problem rows of any floating dtype; everything is computed in float64 on their device
 * @returns tensors to dispose, or to make inside of a scope
 * @throws INVALID_ARGUMENT on shapes that do not fit or a λ below 0; NUMERIC_FAILURE where A has no Cholesky factor
 */
export async function ridgeEdit(problem: RidgeProblem): Promise<RidgeEdit> {
  const { moved, held, lambda } = problem;
  finite("lambda", lambda, 0);
  const width = checkRows("moved", moved);
  if (moved.targets !== undefined && moved.targets.shape.join() !== moved.rows.shape.join())
    throw invalid("the targets", `of shape (${moved.rows.shape.join(", ")})`, moved.targets.shape);
  if (held !== undefined) checkRows("held", held, width);
  return scope(() =>
    noGrad(async () => {
      const scaled = scaledRows(moved); // S K (n, d)
      const ridge = scaledIdentity(width, lambda, scaled.device).add(gram(scaled, moved.rows));
      const kept =
        held === undefined ? undefined : { count: held.rows.shape[0]!, gram: gram(held.rows, held.rows) };
      const system = held === undefined ? ridge : ridge.add(scaledGram(held, kept!.gram)); // A (d, d)
      const factor = await factorise(system, `with lambda ${lambda} they are not: raise lambda`);
      const gain = scaled.transpose(0, 1).choleskySolve(factor).transpose(0, 1).contiguous(); // (n, d)
      return editOf(moved, gain, kept);
    }),
  );
}

/**
 * The edit W' = W + B · gain, where B is what the outputs of the moved rows lack: see `RidgeEdit`.
 * @param held the number of the held rows H, and HᵀH (d, d)
 */
export function editOf(
  moved: Omit<RidgeProblem["moved"], "weights">,
  gain: Tensor,
  held?: { readonly count: number; readonly gram: Tensor },
): RidgeEdit {
  const drift =
    held === undefined
      ? null
      : { count: held.count, drift: gain.matmul(held.gram).matmul(gain.transpose(0, 1)) };
  const keys = moved.rows.to("float64");
  const targets = moved.targets?.to("float64");
  const [count = 0, width = 0] = keys.shape;
  if (targets !== undefined && count > width / 2) return fold(keys, targets, gain, drift);
  const left = gain.matmul(keys.transpose(0, 1)).sub(scaledIdentity(count, 1, keys.device));
  const targeted = targets !== undefined;
  // Rows given in float64 are not copied by `to`; the edit has to outlive them.
  const rows = targeted ? targets.sub(keys) : keys.clone();
  return { moved: { form: "rows", rows, targeted, left }, gain, held: drift };
}

/**
 * Edits one projection. Returns at once, as tensor operations do.
 * @param weight W, (out, d), any floating dtype
 * @param values v_i as rows, (n, out), in the order of the moved inputs; for a problem without targets
 * @throws INVALID_ARGUMENT on shapes that do not fit
 */
export function applyRidgeEdit(edit: RidgeEdit, weight: Tensor, values?: Tensor): EditedProjection {
  const { moved, gain, held } = edit;
  const width = gain.shape[1]!;
  const [out = 0, inputs] = weight.shape;
  if (weight.shape.length !== 2 || inputs !== width)
    throw invalid("weight", `of shape (out, ${width})`, weight.shape);
  checkValues(moved, out, values);
  return scope(() =>
    noGrad(() => {
      const before = weight.to("float64");
      const { base, movedError } =
        moved.form === "rows" ? rowByRow(moved, before, values) : folded(moved, before);
      // ‖ΔW Hᵀ‖² = <B, B · gain · HᵀH · gainᵀ>, which never makes the (m, out) outputs.
      const drift = held === null ? null : base.matmul(held.drift).mul(base).sum();
      return {
        weight: before.add(base.matmul(gain)),
        movedError,
        heldError: drift?.div(held!.count * out) ?? null,
      };
    }),
  );
}

/** B of a projection, and the mean of (W'k - v)². */
interface Lack {
  readonly base: Tensor;
  readonly movedError: Tensor;
}

function rowByRow({ rows, targeted, left }: MovedRows, before: Tensor, values: Tensor | undefined): Lack {
  const outputs = before.matmul(rows.transpose(0, 1)); // (out, n)
  const base = targeted ? outputs : values!.to("float64").transpose(0, 1).sub(outputs);
  // W'k - v = W k - v + B · gain · k = B (gain · k - 1).
  return { base, movedError: base.matmul(left).square().mean() };
}

function folded({ residue, count }: FoldedRows, before: Tensor): Lack {
  const squares = before.matmul(residue).mul(before).sum();
  return { base: before, movedError: squares.div(count * before.shape[0]!) };
}

/** Takes the sums over rows once, where each projection would take longer sums itself. */
function fold(keys: Tensor, targets: Tensor, gain: Tensor, held: RidgeEdit["held"]): RidgeEdit {
  const towards = targets.sub(keys).transpose(0, 1); // (d, n)
  const step = towards.matmul(gain); // (d, d)
  const left = keys.add(keys.matmul(step.transpose(0, 1))).sub(targets); // X (n, d)
  return {
    moved: { form: "folded", count: keys.shape[0]!, residue: gram(left, left) },
    gain: step,
    held:
      held === null
        ? null
        : { count: held.count, drift: towards.matmul(held.drift).matmul(towards.transpose(0, 1)) },
  };
}

function checkValues(moved: RidgeEdit["moved"], out: number, values: Tensor | undefined): void {
  if (moved.form === "folded" || moved.targeted) {
    if (values !== undefined) throw invalid("values", "left out, as the problem has targets,", values);
    return;
  }
  const count = moved.rows.shape[0]!;
  if (values?.shape.join() !== `${count},${out}`)
    throw invalid("values", `of shape (${count}, ${out})`, values?.shape);
}

function scaledRows({ rows, weights }: WeightedRows): Tensor {
  const double = rows.to("float64");
  return double.mul(typeof weights === "number" ? weights : weights.to("float64").unsqueeze(1));
}

/** Σ s_i h_i h_iᵀ, (d, d). @param unscaled Σ h_i h_iᵀ */
function scaledGram(held: WeightedRows, unscaled: Tensor): Tensor {
  return typeof held.weights === "number" ? unscaled.mul(held.weights) : gram(scaledRows(held), held.rows);
}

/** Σ a_i b_iᵀ over rows, (d, d) float64. */
export function gram(a: Tensor, b: Tensor): Tensor {
  return a.to("float64").transpose(0, 1).matmul(b.to("float64"));
}

/** `value` times the identity, (size, size) float64. */
export function scaledIdentity(size: number, value: number, device: string): Tensor {
  const elements = new Float64Array(size * size);
  for (let i = 0; i < size; i++) elements[i * size + i] = value;
  return Tensor.from(elements, [size, size], { device });
}

/** @param otherwise what is said of normal equations that have no factor, and what to do. @throws NUMERIC_FAILURE */
export async function factorise(system: Tensor, otherwise: string): Promise<Tensor> {
  try {
    return await system.cholesky().settled();
  } catch (cause) {
    if (!(cause instanceof KpopError) || cause.code !== "NUMERIC_FAILURE") throw cause;
    throw new KpopError(
      "NUMERIC_FAILURE",
      `Expected the normal equations of the closed form to be positive definite in float64 but ${otherwise}`,
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

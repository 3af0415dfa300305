import { KpopError } from "../../errors";
import { noGrad } from "../../runtime/grad-mode";
import type { Random } from "../../runtime/random";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import { editOf, factorise, gram, scaledIdentity, type RidgeEdit } from "./closed-form";
import { above, eigen, pseudoInverse } from "./spectral";

/** What a null-space edit is asked for. Rows are inputs of projections, float64. */
export interface NullSpaceProblem {
  /** Inputs K and those G whose outputs they are to give, (n, d); `texts` says of each which text it is of. */
  readonly moved: { readonly rows: Tensor; readonly targets: Tensor; readonly texts: readonly string[] };
  /** Inputs C that the null space is found from, (m, d). */
  readonly held: Tensor;
  /** Inputs whose outputs stay, (k, d), k small. */
  readonly invariants: Tensor | null;
  /** Whether only those of C are taken that the edit without a null space would harm more than the mean. */
  readonly filter: boolean;
  /** Noisy copies of each row of C, of which those are taken that the same edit would harm more than their mean. */
  readonly augmentations: number;
  /** Eigenvalues of the second moment of what was taken below which a direction is free, > 0. */
  readonly threshold: number;
  /** ρ > 0. */
  readonly retainScale: number;
  /** λ ≥ 0. */
  readonly lambda: number;
}

/** The edit of a projection W (out, d), and ‖K P‖ / ‖K‖, how much of the moved inputs is free. */
export interface NullSpaceEdit {
  readonly edit: RidgeEdit;
  readonly free: Tensor;
}

/** A text of which no larger part than this is free can only be moved by weights so large that all else is moved, too. */
const LEAST_FREE = 1e-4;

/**
 * Edits within the null space of what is held: SPEED (arXiv 2503.07392). With A = KᵀK / T and B = GᵀK / T of T texts, U the
 * free directions, those of the second moment of what is held whose eigenvalues are below the threshold, and C₂ the
 * invariants as columns,
 *   W' = W + W (B - A) (N - N C₂ (C₂ᵀ N C₂ + λ I)⁻¹ C₂ᵀ N),  N = U (Uᵀ A U + ρ I)⁻¹ Uᵀ,
 * which is its W (B - A) P [I - M C₂ (C₂ᵀ P M C₂ + λ I)⁻¹ C₂ᵀ P] M with P = UUᵀ and M = (A P + ρ I)⁻¹, because P M = N.
 * Invariants that are held already count once. Without filter, augmentations and invariants, for ρ → 0, it is the double
 * projection W (G - K)ᵀ (K U)⁺ᵀ Uᵀ (arXiv 2604.10032).
 *
 * @returns the edit of a projection by its key, to be asked for within a scope; INVALID_ARGUMENT where nothing is free
 */
export async function nullSpaceEdits(
  problem: NullSpaceProblem,
  random: Random,
): Promise<(name: string, weight: Tensor) => Promise<NullSpaceEdit>> {
  const { filter, augmentations, held } = problem;
  const kept = { count: held.shape[0]!, gram: gram(held, held) };
  if (!filter && augmentations === 0) {
    const edit = await editWithin(problem, kept, kept.gram.div(kept.count), "every layer");
    // Each layer's report frees its own.
    return () => Promise.resolve({ ...edit, free: edit.free.clone() });
  }
  const influence = influenceOf(problem);
  return (name, weight) =>
    editWithin(problem, kept, takenMoment(problem, influence, weight.to("float64"), random.at(name)), name);
}

/**
 * @param kept the number of all held rows H, and HᵀH (d, d)
 * @param moment the second moment of what is taken of them, (d, d)
 */
async function editWithin(
  { moved, invariants, threshold, retainScale, lambda }: NullSpaceProblem,
  kept: { readonly count: number; readonly gram: Tensor },
  moment: Tensor,
  where: string,
): Promise<NullSpaceEdit> {
  return scope(() =>
    noGrad(async () => {
      const { vectors, values: found } = eigen(moment);
      const values = Array.from(await found.data(), Number);
      const count = values.filter((value) => value < threshold).length;
      if (count === 0)
        throw new KpopError(
          "INVALID_ARGUMENT",
          `Expected what is held to leave a null space but in ${where} the ${kept.count} rows held span all ${values.length} directions: the least eigenvalue of their second moment is ${Math.min(...values).toPrecision(3)}, and threshold ${threshold}; hold fewer texts or raise threshold`,
        );
      const free = vectors.slice(1, 0, count); // U (d, r)
      const keys = moved.rows.matmul(free); // K U (n, r)
      await checkFree(moved, keys, where);
      const texts = new Set(moved.texts).size;
      const system = gram(keys, keys)
        .div(texts)
        .add(scaledIdentity(count, retainScale, keys.device));
      const factor = await factorise(system, `with retainScale ${retainScale} they are not: raise it`);
      let gain = keys.transpose(0, 1).choleskySolve(factor).transpose(0, 1); // K N U (n, r)
      if (invariants !== null) {
        const fixed = invariants.matmul(free).transpose(0, 1); // Uᵀ C₂ (r, k)
        const answers = fixed.choleskySolve(factor); // Uᵀ N C₂ (r, k)
        const inner = fixed.transpose(0, 1).matmul(answers);
        const inverse = pseudoInverse(
          inner.add(scaledIdentity(inner.shape[0]!, lambda, inner.device)),
          invariants.square().sum().div(retainScale).add(lambda),
        ).inverse;
        gain = gain.sub(keys.matmul(answers).matmul(inverse).matmul(answers.transpose(0, 1)));
      }
      return {
        edit: editOf(moved, gain.matmul(free.transpose(0, 1)).div(texts), kept),
        free: keys.square().sum().div(moved.rows.square().sum()).sqrt(),
      };
    }),
  );
}

/** @throws INVALID_ARGUMENT naming a text of which as good as nothing is free */
async function checkFree(
  { rows, texts }: NullSpaceProblem["moved"],
  keys: Tensor,
  where: string,
): Promise<void> {
  const squares = async (of: Tensor): Promise<Map<string, number>> => {
    const sums = new Map<string, number>();
    (await of.square().sum(1).data()).forEach((value: number | bigint, row: number) =>
      sums.set(texts[row]!, (sums.get(texts[row]!) ?? 0) + Number(value)),
    );
    return sums;
  };
  const [all, left] = [await squares(rows), await squares(keys)];
  for (const [text, square] of all) {
    const share = Math.sqrt(left.get(text)! / square);
    if (share < LEAST_FREE)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected at least ${LEAST_FREE} of ${JSON.stringify(text)} to lie outside of what is held but in ${where} only ${share.toExponential(1)} of it does: hold other texts, or raise threshold`,
      );
  }
}

/** E (d, r) and Z (r, d): the edit without a null space is D = W E Z = W (B - A) (I + A)⁻¹. */
interface Influence {
  readonly towards: Tensor;
  readonly along: Tensor;
}

function influenceOf({ moved: { rows, targets, texts } }: NullSpaceProblem): Influence {
  return scope(() => {
    const [count = 0, width = 0] = rows.shape;
    const size = new Set(texts).size;
    const factor = gram(rows, rows)
      .div(size)
      .add(scaledIdentity(width, 1, rows.device))
      .cholesky();
    const towards = targets.sub(rows).transpose(0, 1); // (d, n)
    const along = rows.transpose(0, 1).choleskySolve(factor).transpose(0, 1).div(size); // (n, d)
    return count <= width
      ? { towards, along }
      : { towards: towards.matmul(along), along: scaledIdentity(width, 1, rows.device) };
  });
}

/**
 * The second moment of what is taken of the held rows for a projection, (d, d): of those rows c that the edit D would harm
 * at least as much as the mean (‖D c‖; IPF), and of their copies c + g u that it would harm more than their mean (DPA), u
 * being the direction that W sees least and g a normal draw.
 */
function takenMoment(
  { held, filter, augmentations }: NullSpaceProblem,
  { towards, along }: Influence,
  weight: Tensor,
  random: Random,
): Tensor {
  return scope(() =>
    noGrad(() => {
      const outputs = weight.matmul(towards); // W E (out, r)
      const effect = gram(outputs, outputs); // (r, r)
      const reached = held.matmul(along.transpose(0, 1)); // rows Z c (m, r)
      const harmful = reached.matmul(effect);
      const harm = harmful.mul(reached).sum(1, true); // ‖D c‖² (m, 1)
      const norms = root(harm);
      // A set of equals is kept whole, whatever its mean is rounded to, and where guides are the concepts and all are 0.
      const bound = norms.mean().mul(1 - 1e-12).sub(1e-300); // prettier-ignore
      const kept = filter ? above(norms, bound) : norms.mul(0).add(1);
      if (augmentations === 0) return gram(held, held.mul(kept)).div(kept.sum());
      const least = leastSeen(weight); // u (d, 1)
      const step = along.matmul(least); // Z u (r, 1)
      const shape = [held.shape[0]!, augmentations];
      const draws = random.normal(shape, { dtype: "float64", device: held.device }); // (m, a)
      const gained = draws.square().mul(step.transpose(0, 1).matmul(effect).matmul(step));
      const copies = root(harm.add(draws.mul(harmful.matmul(step)).mul(2)).add(gained)); // ‖D (c + g u)‖
      const mean = copies.mul(kept).sum().div(kept.sum().mul(augmentations));
      const taken = above(copies, mean).mul(kept); // (m, a)
      const counts = kept.add(taken.sum(1, true)); // of each row and its copies
      // Σ (c + g u)(c + g u)ᵀ, of which no copy has to be made.
      const shift = held.transpose(0, 1).matmul(taken.mul(draws).sum(1, true)); // (d, 1)
      const cross = shift.matmul(least.transpose(0, 1));
      const spread = least.matmul(least.transpose(0, 1)).mul(taken.mul(draws.square()).sum());
      const sum = gram(held, held.mul(counts)).add(cross).add(cross.transpose(0, 1)).add(spread);
      return sum.div(counts.sum());
    }),
  );
}

/** The right singular vector of the smallest of W's min(out, d) singular values, (d, 1). */
function leastSeen(weight: Tensor): Tensor {
  const [out = 0, width = 0] = weight.shape;
  const turned = weight.transpose(0, 1); // (d, out)
  if (out >= width) return turned.matmul(weight).eigenvectors().slice(1, 0, 1);
  const vector = turned.matmul(weight.matmul(turned).eigenvectors().slice(1, 0, 1));
  return vector.div(root(vector.square().sum()).clamp(Number.MIN_VALUE, Infinity));
}

/** Of what may be rounded to a little below 0. */
function root(squares: Tensor): Tensor {
  return squares.clamp(0, Infinity).sqrt();
}

import {
  divideRight,
  identity,
  minus,
  norm,
  plus,
  product,
  symmetricEigen,
  times,
  transpose,
  type Matrix,
} from "./matrix";

/** SPEED of one projection, rows being inputs. */
export interface SpeedSetting {
  /** W (out, d). */
  weight: Matrix;
  /** Rows K and G of `texts` texts. */
  keys: Matrix;
  targets: Matrix;
  texts: number;
  held: Matrix;
  /** Rows of C₂; none: no invariants. */
  invariants: Matrix;
  filter: boolean;
  /** Draws for the copies of each held row. */
  noise: Matrix;
  threshold: number;
  retainScale: number;
  lambda: number;
}

const gram = (a: Matrix, b: Matrix): Matrix => product(transpose(a), b);
const inverse = (a: Matrix): Matrix => divideRight(identity(a.length), a);
const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/**
 * Δ as arXiv 2503.07392 and its script write it, with the copies of held rows made one by one: what the library's own
 * arrangement is compared with. The direction that copies are made along has no sign, so that there are two.
 */
export function referenceSpeed(setting: SpeedSetting): { deltas: Matrix[]; taken: number; kept: number } {
  const { weight, keys, targets, texts, held, filter, noise } = setting;
  const width = keys[0]!.length;
  const unit = identity(width);
  const a = times(gram(keys, keys), 1 / texts);
  const away = product(weight, minus(times(gram(targets, keys), 1 / texts), a)); // W (B - A)
  const update = divideRight(away, plus(unit, a)); // D (I + A) = W (B - A)
  const harm = (row: readonly number[]): number => norm(product(update, transpose([row])));
  const limit = filter ? mean(held.map(harm)) : 0;
  const kept = held.map((row, index) => ({ row, index })).filter(({ row }) => harm(row) >= limit);

  // The right singular vector of the least singular value that a (out, d) matrix has min(out, d) of.
  const { vectors, values } = symmetricEigen(gram(weight, weight));
  const order = values.map((_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const least = vectors.map((row) => row[order[Math.max(0, width - weight.length)]!]!);
  let taken = 0;
  const deltas = [1, -1].map((sign) => {
    const copies = kept.flatMap(({ row, index }) =>
      noise[index]!.map((by) => row.map((x, i) => x + sign * by * least[i]!)),
    );
    const most = copies.length === 0 ? 0 : mean(copies.map(harm));
    const all = [...kept.map(({ row }) => row), ...copies.filter((row) => harm(row) > most)];
    taken = all.length;
    const moment = symmetricEigen(times(gram(all, all), 1 / all.length));
    const free = transpose(moment.vectors).filter((_, i) => moment.values[i]! < setting.threshold);
    return published(setting, a, away, gram(free, free));
  });
  return { deltas, taken, kept: kept.length };
}

/** W (B - A) P [I - M C₂ (C₂ᵀ P M C₂ + λ I)⁻¹ C₂ᵀ P] M, M = (A P + ρ I)⁻¹. */
export function published(
  { invariants, retainScale, lambda }: Pick<SpeedSetting, "invariants" | "retainScale" | "lambda">,
  a: Matrix,
  away: Matrix,
  p: Matrix,
): Matrix {
  const unit = identity(a.length);
  const m = inverse(plus(product(a, p), times(unit, retainScale)));
  if (invariants.length === 0) return product(product(away, p), m);
  const c2 = transpose(invariants);
  const inner = plus(
    product(product(invariants, p), product(m, c2)),
    times(identity(invariants.length), lambda),
  );
  const part = product(product(m, product(c2, inverse(inner))), product(invariants, p));
  return product(product(product(away, p), minus(unit, part)), m);
}

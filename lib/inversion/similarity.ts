import { Tensor } from "../runtime/tensor";

/**
 * What keeps the members of a set apart: the mean over pairs of max(0, cos(v_i, v_j) − δ)², a member's n vectors taken
 * as one.
 * @param vectors (N, n, d), N ≥ 2
 * @param margin δ, the cosine that costs nothing yet
 * @returns a scalar, with a graph
 */
export function similarityPenalty(vectors: Tensor, margin: number): Tensor {
  const count = vectors.shape[0]!;
  const flat = vectors.reshape([count, -1]);
  const units = flat.div(flat.square().sum(1, true).sqrt());
  const cosines = units.matmul(units.transpose(0, 1)); // (N, N)
  const others = Tensor.from(
    Array.from({ length: count * count }, (_, i) => (i % (count + 1) === 0 ? 0 : 1)),
    [count, count],
    { device: vectors.device },
  );
  const excess = cosines.sub(margin).relu().square().mul(others);
  return excess.sum().div(count * (count - 1));
}

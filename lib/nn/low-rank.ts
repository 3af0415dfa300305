import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** Two thin matrices whose product stands for a wide one. */
export interface LowRank {
  /** (m, r), float64. */
  up: Tensor;
  /** (r, n), float64. */
  down: Tensor;
  /** ‖up down‖² and ‖matrix‖², Frobenius: how much of the matrix is in them. */
  kept: number;
  total: number;
}

/**
 * The matrix of rank r that is nearest to another in the Frobenius norm (Eckart and Young, Psychometrika 1936), as two
 * factors of equal norm, which suits narrow dtypes. From the eigenvectors of the smaller Gram matrix, in float64: singular
 * values below 1e-8 of the largest are lost.
 * @param matrix (m, n), finite
 * @param rank at most min(m, n) is used
 */
export async function lowRank(matrix: Tensor, rank: number): Promise<LowRank> {
  return scope(async () => {
    const [m, n] = matrix.shape as [number, number];
    const wide = matrix.to("float64");
    const flat = m <= n;
    const gram = flat ? wide.matmul(wide.transpose(0, 1)) : wide.transpose(0, 1).matmul(wide);
    const vectors = gram.eigenvectors().slice(1, Math.max(0, Math.min(m, n) - rank)); // (min(m, n), r)
    const up = flat ? vectors : wide.matmul(vectors);
    const down = flat ? vectors.transpose(0, 1).matmul(wide) : vectors.transpose(0, 1);
    const total = await wide.square().sum().item();
    // The other factor has r orthonormal vectors, so that this one has the norm of the product.
    const kept = await (flat ? down : up).square().sum().item();
    if (kept === 0) return { up, down, kept, total };
    const balance = (kept / vectors.shape[1]!) ** 0.25;
    return flat
      ? { up: up.mul(balance), down: down.mul(1 / balance), kept, total }
      : { up: up.mul(1 / balance), down: down.mul(balance), kept, total };
  });
}

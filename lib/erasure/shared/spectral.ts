import type { Tensor } from "../../runtime/tensor";

/** Share of the largest value that an eigenvalue can have which counts as none. */
const NOTHING = 1e-10;

/** Eigenvectors of a symmetric (n, n) as columns, and their eigenvalues, (1, n), ascending. */
export function eigen(matrix: Tensor): { readonly vectors: Tensor; readonly values: Tensor } {
  const vectors = matrix.eigenvectors();
  return { vectors, values: vectors.mul(matrix.matmul(vectors)).sum(0, true) };
}

/**
 * The pseudo-inverse of a symmetric positive semidefinite (n, n), and its rank, a scalar.
 * @param scale what eigenvalues are measured by, a scalar: those of 1e-10 of it and less count as none
 */
export function pseudoInverse(
  matrix: Tensor,
  scale: Tensor,
): { readonly inverse: Tensor; readonly rank: Tensor } {
  const { vectors, values } = eigen(matrix);
  const some = above(values, scale.mul(NOTHING)); // (1, n)
  const inverted = some.div(values.clamp(Number.MIN_VALUE, Infinity));
  return { inverse: vectors.mul(inverted).matmul(vectors.transpose(0, 1)), rank: some.sum() };
}

/** 1 where a value lies above a limit, else 0. */
export function above(values: Tensor, limit: Tensor): Tensor {
  return values.sub(limit).mul(Number.MAX_VALUE).clamp(0, 1);
}

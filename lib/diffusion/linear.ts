/** What a sampler asks of a tensor: a new one from scaling, a new one from adding. The library's `Tensor` has both. */
export interface Linear<T> {
  mul(factor: number): T;
  add(other: T): T;
}

/** Σ factor · tensor; terms of factor 0 are left out, a lone term of factor 1 is returned as it is. */
export function linear<T extends Linear<T>>(terms: readonly (readonly [factor: number, tensor: T])[]): T {
  let sum: T | undefined;
  for (const [factor, tensor] of terms) {
    if (factor === 0) continue;
    const term = factor === 1 ? tensor : tensor.mul(factor);
    sum = sum === undefined ? term : sum.add(term);
  }
  return sum ?? terms[0]![1].mul(0);
}

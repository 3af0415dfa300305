import { finite, invalid } from "../check";
import { KpopError } from "../errors";
import { addon } from "../runtime/binding";
import type { Tensor } from "../runtime/tensor";

/**
 * Scales all gradients by one factor, where that is below 1, so that their norm as one vector is at most `maxNorm`
 * (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063, algorithm 1). The factor is that of PyTorch's clip_grad_norm_:
 * maxNorm / (norm + 1e-6). To be called between `backward()` and an optimizer's `step()`.
 * @param tensors leaves on one device; those without a gradient count as zero
 * @param maxNorm >= 0
 * @returns the norm before; 0 when no tensor has a gradient
 * @throws INVALID_ARGUMENT, and NUMERIC_FAILURE when the norm is not finite: the gradients stay as they are
 */
export async function clipGradients(tensors: readonly Tensor[], maxNorm: number): Promise<number> {
  if (tensors.length === 0) throw invalid("tensors", "at least one tensor", tensors);
  const norm = await addon().clipGradients(
    tensors.map((tensor) => tensor.native),
    finite("maxNorm", maxNorm, 0),
  );
  if (!Number.isFinite(norm)) {
    throw new KpopError(
      "NUMERIC_FAILURE",
      `Expected gradients of a finite norm but theirs is ${norm}; lower the learning rate, or look for a loss that is not finite`,
    );
  }
  return norm;
}

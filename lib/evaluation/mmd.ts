import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** Width of the kernel, and what makes the figure readable (arXiv 2401.09603, section 4). */
const SIGMA = 10;
const SCALE = 1000;
/** Rows of the kernel's matrix that are in memory together. */
const BLOCK = 256;

/**
 * Maximum mean discrepancy of two sets under a Gaussian kernel, squared, × 1000: CMMD (arXiv 2401.09603, equation 4), where
 * the sets are CLIP's embeddings of pictures. As in its code the means are over all pairs, each row with itself too.
 * @param first (n, d) float64   @param second (m, d) float64
 */
export async function meanDiscrepancy(first: Tensor, second: Tensor): Promise<number> {
  const within = (await meanKernel(first, first)) + (await meanKernel(second, second));
  // What rounds to less than nothing is two equal sets.
  return SCALE * Math.max(0, within - 2 * (await meanKernel(first, second)));
}

/** Mean of exp(-‖x - y‖² / 2σ²) over all pairs of rows. */
async function meanKernel(x: Tensor, y: Tensor): Promise<number> {
  const [n, m] = [x.shape[0]!, y.shape[0]!];
  let sum = 0;
  for (let from = 0; from < n; from += BLOCK) {
    const block = scope(() => {
      const rows = x.slice(0, from, Math.min(from + BLOCK, n));
      const squares = rows.square().sum(-1, true).add(y.square().sum(-1));
      const distances = squares.sub(rows.matmul(y.transpose(0, 1)).mul(2)); // (block, m)
      return distances
        .mul(-1 / (2 * SIGMA ** 2))
        .exp()
        .sum();
    });
    sum += await block.item();
    block.dispose();
  }
  return sum / (n * m);
}

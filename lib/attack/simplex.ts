import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** Halvings of an interval shorter than 1 until it is shorter than 1e-5. */
const HALVINGS = 17;

/**
 * The nearest point of the probability simplex for each row: max(a − τ, 0) with the τ of sum 1 (Duchi et al., ICML 2008,
 * eq. 3). τ is bracketed by bisection to 1e-5; there the sum is all but linear in it, and τ is interpolated.
 * @param rows (k, n) float32
 * @returns (k, n), each row's elements at least 0 and of sum 1 within rounding
 */
export function projectOntoSimplex(rows: Tensor): Promise<Tensor> {
  return scope(() =>
    noGrad(async () => {
      const [count, width] = rows.shape as [number, number];
      const shifted = (by: readonly number[]): Tensor =>
        rows.sub(Tensor.from(Float32Array.from(by), [count, 1], { device: rows.device })).relu();
      const excess = async (by: readonly number[]): Promise<number[]> =>
        scope(async () => Array.from(await shifted(by).sum(1).data(), Number).map((sum) => sum - 1));

      const largest = Array.from(await rows.amax(1).data(), Number);
      // At `low` the largest element alone makes up the sum; at `high` none gives more than its share.
      const low = largest.map((value) => value - 1);
      const high = largest.map((value) => value - 1 / width);
      const [above, below] = [await excess(low), await excess(high)];
      for (let halving = 0; halving < HALVINGS; halving++) {
        const middle = low.map((value, row) => (value + high[row]!) / 2);
        for (const [row, sum] of (await excess(middle)).entries()) {
          const [end, sums] = sum >= 0 ? [low, above] : [high, below];
          end[row] = middle[row]!;
          sums[row] = sum;
        }
      }
      const threshold = low.map((value, row) => {
        const fall = above[row]! - below[row]!;
        return fall > 0 ? value + ((high[row]! - value) * above[row]!) / fall : value;
      });
      return shifted(threshold).settled();
    }),
  );
}

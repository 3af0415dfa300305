import type { Tensor } from "../../runtime/tensor";

/**
 * The mean of (a - b)² over the elements that a mask keeps, item by item, and over the items.
 * @param a (B, C, h, w)   @param b (B, C, h, w)
 * @param mask (B, 1, h, w) of 1 and 0, some 1 for each item; null keeps everything
 * @returns a scalar
 */
export function maskedError(a: Tensor, b: Tensor, mask: Tensor | null): Tensor {
  if (mask === null) return a.mse(b);
  const spatial = [1, 2, 3];
  const kept = mask.sum(spatial).mul(a.shape[1]!); // (B)
  return a.sub(b).square().mul(mask).sum(spatial).div(kept).mean();
}

import { type Random, Tensor } from "../../lib/index";

/** Rows longer than `radius` shortened to it; the others as they are. @param rows (N, d)   @param radius > 0 */
export function project(rows: Tensor, radius: number): Tensor {
  const lengths = rows.square().sum(1, true).sqrt(); // (N, 1)
  return rows.div(lengths.div(radius).maximum(Tensor.from([1], [1])));
}

/** `count` directions, uniform on the unit sphere. @returns (count, width) */
export function directions(count: number, width: number, random: Random): Tensor {
  const rows = random.normal([count, width]);
  return rows.div(rows.square().sum(1, true).sqrt());
}

import { lowRank } from "../../../lib/nn/low-rank";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

const SINGULAR = [8, 4, 1, 0.5];

/** Orthonormal vectors: row k of the discrete cosine transform (DCT-II) of a length. */
function cosines(length: number, k: number): number[] {
  const scale = Math.sqrt((k === 0 ? 1 : 2) / length);
  return Array.from({ length }, (_, i) => scale * Math.cos((Math.PI / length) * (i + 0.5) * k));
}

/** A matrix whose singular values are known, and its best approximation of a rank, by the closed form. */
function known(m: number, n: number, rank: number): Tensor {
  const values = Array.from({ length: m * n }, () => 0);
  SINGULAR.slice(0, rank).forEach((sigma, k) => {
    const [u, v] = [cosines(m, k), cosines(n, k)];
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) values[i * n + j]! += sigma * u[i]! * v[j]!;
  });
  return Tensor.from(values, [m, n], { dtype: "float64" });
}

const largest = (tensor: Tensor): Promise<number> => tensor.abs().amax([0, 1]).item();

describe("lowRank", () => {
  it.each([
    [6, 11],
    [11, 6],
    [7, 7],
  ])("of a %d by %d matrix is what its largest singular values make", async (m, n) => {
    const { up, down, kept, total } = await lowRank(known(m, n, 4), 2);
    expect([up.shape, down.shape]).toEqual([
      [m, 2],
      [2, n],
    ]);
    expect(await largest(up.matmul(down).sub(known(m, n, 2)))).toBeLessThan(1e-9);
    expect(total).toBeCloseTo(64 + 16 + 1 + 0.25, 9);
    expect(kept).toBeCloseTo(64 + 16, 9);
    const norms = await Promise.all([up, down].map((factor) => factor.square().sum().item()));
    expect(norms[0]).toBeCloseTo(norms[1]!, 9);
  });

  it("takes all the rank that there is", async () => {
    const matrix = new Random(1).normal([5, 3]);
    const { up, down, kept, total } = await lowRank(matrix, 32);
    expect(up.shape).toEqual([5, 3]);
    expect(await largest(up.matmul(down).sub(matrix.to("float64")))).toBeLessThan(1e-9);
    expect(kept / total).toBeCloseTo(1, 9);
  });

  it("finds nothing in nothing", async () => {
    const { kept, total, up, down } = await lowRank(Tensor.zeros([3, 4]), 2);
    expect([kept, total]).toEqual([0, 0]);
    expect(await largest(up.matmul(down))).toBe(0);
  });
});

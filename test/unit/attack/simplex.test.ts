import { projectOntoSimplex } from "../../../lib/attack/simplex";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

/** The closed form: sort, and take the last threshold that its own element exceeds (Duchi et al., ICML 2008, figure 1). */
function sorted(row: readonly number[]): number[] {
  let [sum, threshold] = [0, 0];
  [...row]
    .sort((a, b) => b - a)
    .forEach((value, index) => {
      sum += value;
      const candidate = (sum - 1) / (index + 1);
      if (value > candidate) threshold = candidate;
    });
  return row.map((value) => Math.max(value - threshold, 0));
}

async function rowsOf(tensor: Tensor): Promise<number[][]> {
  const [count, width] = tensor.shape as [number, number];
  const values = Array.from(await tensor.data(), Number);
  return Array.from({ length: count }, (_, row) => values.slice(row * width, (row + 1) * width));
}

describe("projectOntoSimplex", () => {
  it.each([
    ["values as large as the simplex", 50, 1],
    ["a step from uniform over a vocabulary", 49408, 0.01],
    ["values far outside", 1000, 30],
    ["pairs", 2, 1],
  ])("agrees with the closed form to 1e-5 on %s", async (_, width, scale) => {
    const rows = new Random(5)
      .normal([3, width])
      .mul(scale)
      .add(1 / width);
    const projected = await rowsOf(await projectOntoSimplex(rows));
    for (const [index, row] of (await rowsOf(rows)).entries()) {
      const expected = sorted(row);
      const worst = Math.max(...projected[index]!.map((value, place) => Math.abs(value - expected[place]!)));
      expect(worst).toBeLessThan(1e-5);
    }
  });

  it("gives probabilities: nothing below zero, and a sum of one", async () => {
    const rows = new Random(6).normal([4, 49408]).mul(0.01);
    for (const row of await rowsOf(await projectOntoSimplex(rows))) {
      expect(Math.min(...row.slice(0, 1000))).toBe(0);
      expect(row.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4);
    }
  });

  it("leaves what is on the simplex, its corners too", async () => {
    const rows = [
      [1, 0, 0, 0],
      [0.25, 0.25, 0.25, 0.25],
      [0.5, 0, 0.125, 0.375],
    ];
    const projected = await rowsOf(await projectOntoSimplex(Tensor.from(rows.flat(), [3, 4])));
    rows.flat().forEach((value, index) => expect(projected.flat()[index]).toBeCloseTo(value, 5));
  });

  it("gives one to a row of a single element", async () => {
    expect(await rowsOf(await projectOntoSimplex(Tensor.from([-7, 9], [2, 1])))).toEqual([[1], [1]]);
  });
});

import { similarityPenalty } from "../../../lib/inversion/similarity";
import { Tensor } from "../../../lib/runtime/tensor";

const members = (rows: number[][]): Tensor =>
  Tensor.from(rows.flat(), [rows.length, 1, rows[0]!.length], { dtype: "float64" });

describe("similarityPenalty", () => {
  it("is the mean over pairs of the squared excess of their cosine", async () => {
    // Cosines: 0.8 of the first two, 0 and 0.6 with the third.
    const three = members([
      [2, 0],
      [0.8, 0.6],
      [0, 5],
    ]);
    const expected = (0.3 ** 2 + 0 + 0.1 ** 2) / 3;
    expect(await similarityPenalty(three, 0.5).item()).toBeCloseTo(expected, 12);
  });

  it("costs nothing up to the margin", async () => {
    const two = members([
      [1, 0],
      [0.5, Math.sqrt(0.75)],
    ]);
    expect(await similarityPenalty(two, 0.5 + 1e-12).item()).toBe(0);
  });

  it("takes a member's vectors as one", async () => {
    const two = Tensor.from([1, 0, 0, 1, 1, 0, 0, -1], [2, 2, 2], { dtype: "float64" });
    expect(await similarityPenalty(two, -1).item()).toBeCloseTo(1, 12);
  });

  it("has the gradient of its central differences", async () => {
    const values = [1, 0.2, 0.9, 0.4, -0.1, 1.1];
    const at = (v: number[]): Tensor => Tensor.from(v, [3, 1, 2], { dtype: "float64" });
    const leaf = await at(values).requireGrad();
    await similarityPenalty(leaf, 0.1).backward();
    const gradient = Array.from(await leaf.grad!.data(), Number);
    for (const [i] of values.entries()) {
      const moved = (step: number): Promise<number> =>
        similarityPenalty(at(values.map((v, j) => (j === i ? v + step : v))), 0.1).item();
      expect(gradient[i]).toBeCloseTo(((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5, 8);
    }
  });
});

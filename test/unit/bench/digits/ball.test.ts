import { Random, Tensor } from "../../../../lib/index";
import { directions, project } from "../../../../bench/digits/ball";

const read = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("the ball", () => {
  it("takes rows outside to its surface, along their direction, and leaves the others", async () => {
    const rows = Tensor.from([3, 4, 0.3, 0.4, 0, 0, -6, 8], [4, 2]);
    const projected = await read(project(rows, 2));
    [1.2, 1.6, 0.3, 0.4, 0, 0, -1.2, 1.6].forEach((expected, place) =>
      expect(projected[place]).toBeCloseTo(expected, 6),
    );
  });

  it("has directions of unit length all around, the same for the same seed", async () => {
    const [first, again, other] = await Promise.all(
      [1, 1, 2].map((seed) => read(directions(256, 3, new Random(seed)))),
    );
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    const mean = [0, 0, 0];
    for (let row = 0; row < 256; row++) {
      const own = first!.slice(3 * row, 3 * row + 3);
      expect(Math.hypot(...own)).toBeCloseTo(1, 6);
      own.forEach((value, column) => (mean[column]! += value / 256));
    }
    // Each coordinate has variance 1/3: five deviations of the mean of 256.
    for (const value of mean) expect(Math.abs(value)).toBeLessThan(5 * Math.sqrt(1 / 3 / 256));
  });
});

import {
  drawPlacement,
  placementMask,
  placePictures,
  type Placement,
} from "../../../../lib/erasure/shared/placement";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import reference from "../../../fixtures/placement/reference.json";

const SIZE = 12;
const picture = (): Tensor => Tensor.from(reference.picture, [1, 1, SIZE, SIZE]);
const placed = async (placement: Partial<Placement>): Promise<number[][]> => {
  const whole = { side: SIZE, left: 0, top: 0, mirrored: false, phrase: null };
  const values = await placePictures(picture(), [{ ...whole, ...placement }]).data();
  return grid(Array.from(values, Number), SIZE);
};
const grid = (values: readonly number[], width: number): number[][] =>
  Array.from({ length: values.length / width }, (_, y) => values.slice(y * width, (y + 1) * width));
const scaled = (side: keyof typeof reference.scaled): number[][] =>
  grid(reference.scaled[side], Number(side));

function expectClose(actual: number[][], expected: number[][]): void {
  expect(actual.map((row) => row.length)).toEqual(expected.map((row) => row.length));
  const worst = Math.max(...actual.flatMap((row, y) => row.map((v, x) => Math.abs(v - expected[y]![x]!))));
  expect(worst).toBeLessThan(1e-6);
}

describe("placePictures", () => {
  it("leaves a picture that is neither scaled nor mirrored as it is", async () => {
    expectClose(await placed({}), scaled("12"));
  });

  it("mirrors left and right", async () => {
    expectClose(
      await placed({ mirrored: true }),
      scaled("12").map((row) => [...row].reverse()),
    );
  });

  it.each([
    ["5", 0, 0],
    ["5", 7, 3],
    ["8", 4, 1],
  ] as const)(
    "puts a picture scaled to %s pixels, as torch scales it, at (%s, %s) on grey",
    async (side, left, top) => {
      const expected = grid(Array<number>(SIZE * SIZE).fill(0), SIZE);
      scaled(side).forEach((row, y) => row.forEach((value, x) => (expected[top + y]![left + x] = value)));
      expectClose(await placed({ side: Number(side), left, top }), expected);
    },
  );

  it.each([
    ["15", -3, 0],
    ["16", -1, -4],
  ] as const)(
    "cuts its frame out of a picture scaled to %s pixels, from (%s, %s) on",
    async (side, left, top) => {
      const expected = scaled(side)
        .slice(-top, SIZE - top)
        .map((row) => row.slice(-left, SIZE - left));
      expectClose(await placed({ side: Number(side), left, top }), expected);
    },
  );

  it("mirrors within the place: the place itself stays", async () => {
    const expected = grid(Array<number>(SIZE * SIZE).fill(0), SIZE);
    scaled("5").forEach((row, y) => [...row].reverse().forEach((v, x) => (expected[y + 2]![x + 6] = v)));
    expectClose(await placed({ side: 5, left: 6, top: 2, mirrored: true }), expected);
  });

  it("places each picture of a batch by itself, all channels alike", async () => {
    const two = new Random(1).normal([2, 3, SIZE, SIZE]);
    const placements = [
      { side: 7, left: 2, top: 5, mirrored: true, phrase: null },
      { side: 15, left: -2, top: 0, mirrored: false, phrase: null },
    ];
    const together = placePictures(two, placements);
    for (const [item, placement] of placements.entries())
      for (const channel of [0, 1, 2]) {
        const one = (tensor: Tensor) => tensor.slice(0, item, item + 1).slice(1, channel, channel + 1);
        const alone = placePictures(one(two), [placement]);
        expect(await one(together).sub(alone).abs().amax([0, 1, 2, 3]).item()).toBeLessThan(1e-6);
      }
  });
});

describe("placementMask", () => {
  const mask = async (placement: Pick<Placement, "side" | "left" | "top">): Promise<number[]> => {
    const tensor = placementMask(
      [{ ...placement, mirrored: false, phrase: null }],
      { size: 64, cell: 8 },
      "cpu",
    );
    expect(tensor.shape).toEqual([1, 1, 8, 8]);
    return Array.from(await tensor.data(), Number);
  };
  const cells = (xs: number[], ys: number[]): number[] =>
    Array.from({ length: 64 }, (_, i) => Number(xs.includes(i % 8) && ys.includes(Math.floor(i / 8))));

  it.each([
    [
      "the whole frame: all but the border",
      { side: 64, left: 0, top: 0 },
      [1, 2, 3, 4, 5, 6],
      [1, 2, 3, 4, 5, 6],
    ],
    ["a corner", { side: 32, left: 0, top: 32 }, [1, 2], [5, 6]],
    ["a place between cells", { side: 40, left: 13, top: 3 }, [2, 3, 4], [1, 2, 3]],
    [
      "a picture that is cut",
      { side: 80, left: -3, top: -16 },
      [0, 1, 2, 3, 4, 5, 6, 7],
      [0, 1, 2, 3, 4, 5, 6, 7],
    ],
  ])("looks at the inside of %s", async (_, placement, xs, ys) => {
    expect(await mask(placement)).toEqual(cells(xs, ys));
  });
});

describe("drawPlacement", () => {
  const FRAME = { size: 64, cell: 4 };
  const draws = (scale: boolean): Placement[] =>
    Array.from({ length: 3000 }, (_, i) => drawPlacement(new Random(5).at(i), FRAME, scale));

  it("shrinks with probability 0.66 to a third or more, else enlarges by 1.2 to 1.4", () => {
    const sides = draws(true).map(({ side }) => side);
    const shrunk = sides.filter((side) => side <= 64);
    // Three standard deviations of 3000 draws.
    expect(Math.abs(shrunk.length / 3000 - 0.66)).toBeLessThan(0.026);
    expect([Math.min(...shrunk), Math.max(...shrunk)]).toEqual([22, 64]);
    const large = sides.filter((side) => side > 64);
    expect([Math.min(...large), Math.max(...large)]).toEqual([77, 89]);
  });

  it("keeps a smaller picture within the frame, and the frame within a larger one, up to both edges", () => {
    const corners = new Set<string>();
    for (const { side, left, top } of draws(true))
      for (const offset of [left, top]) {
        const [low, high] = side > 64 ? [64 - side, 0] : [0, 64 - side];
        expect(offset).toBeGreaterThanOrEqual(low);
        expect(offset).toBeLessThanOrEqual(high);
        if (side !== 64 && offset === low) corners.add(side > 64 ? "far end" : "near edge");
        if (side !== 64 && offset === high) corners.add(side > 64 ? "near end" : "far edge");
      }
    expect(corners.size).toBe(4);
  });

  it("says what is small, and what is near, in the caption", () => {
    for (const { side, phrase } of draws(true)) {
      const expected =
        side > 64 ? ["zoomed in", "close up"] : side < 0.6 * 64 ? ["far away", "very small"] : [null];
      expect(expected).toContain(phrase);
    }
    expect(new Set(draws(true).map(({ phrase }) => phrase)).size).toBe(5);
  });

  it("leaves some latents to look at, however small the cells are in number", () => {
    for (const frame of [FRAME, { size: 64, cell: 8 }, { size: 32, cell: 8 }])
      for (let i = 0; i < 500; i++) {
        const { side } = drawPlacement(new Random(2).at(i), frame, true);
        expect(side).toBeGreaterThanOrEqual(4 * frame.cell);
      }
  });

  it("only mirrors, every other time, where sizes are to stay", () => {
    const all = draws(false);
    expect(new Set(all.map(({ side, left, top, phrase }) => [side, left, top, phrase].join()))).toEqual(
      new Set(["64,0,0,"]),
    );
    expect(Math.abs(all.filter(({ mirrored }) => mirrored).length / 3000 - 0.5)).toBeLessThan(0.028);
  });
});

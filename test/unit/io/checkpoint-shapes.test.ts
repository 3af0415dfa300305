import { compareShapes } from "../../../lib/io/checkpoint-shapes";

const has = (shapes: Record<string, number[]>) =>
  new Map(Object.entries(shapes).map(([key, shape]) => [key, { shape }]));

describe("compareShapes", () => {
  it("accepts what fits, and keys that may be there", () => {
    expect(() =>
      compareShapes({ a: [1, 2] }, has({ a: [1, 2], "x.position_ids": [3] }), [/position_ids$/]),
    ).not.toThrow();
  });

  it("counts missing, unexpected and wrongly shaped tensors, and names the first five of each", () => {
    const expected = Object.fromEntries(["a", "b", "c", "d", "e", "f", "w"].map((key) => [key, [2, 3]]));
    expect(() => compareShapes(expected, has({ w: [3, 2], toString: [1] }), [], "The UNet of m")).toThrow(
      expect.objectContaining({
        code: "INVALID_CHECKPOINT",
        message:
          "The UNet of m does not fit its configuration: 6 tensors missing: a, b, c, d, e, ...; " +
          "1 tensor unexpected: toString; 1 tensor wrongly shaped: w (expected [2, 3] but received [3, 2])",
      }) as Error,
    );
  });
});

import { linear } from "../../../lib/diffusion/linear";
import { Vector } from "../../support/vector";

describe("linear", () => {
  const a = new Vector([1, 2]);
  const b = new Vector([10, -4]);

  it("adds up terms, each times its factor", () => {
    expect(
      linear([
        [2, a],
        [0.5, b],
      ]).values,
    ).toEqual([7, 2]);
  });

  it("leaves out terms of factor 0, so that what is not finite there does no harm", () => {
    const sum = linear([
      [0, new Vector([NaN, Infinity])],
      [3, a],
    ]);
    expect(sum.values).toEqual([3, 6]);
  });

  it("returns a lone term of factor 1 itself, without copying", () => {
    expect(linear([[1, a], [0, b]])).toBe(a); // prettier-ignore
  });

  it("is zero, of the terms' shape, when every factor is", () => {
    expect(linear([[0, a], [0, b]]).values).toEqual([0, 0]); // prettier-ignore
  });
});

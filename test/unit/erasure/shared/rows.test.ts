import { repeated, rows } from "../../../../lib/erasure/shared/rows";
import { Tensor } from "../../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("rows", () => {
  it("takes rows in the order asked for, as often as asked for", async () => {
    const taken = rows(Tensor.from([0, 1, 10, 11, 20, 21], [3, 1, 2]), [2, 0, 2]);
    expect(taken.shape).toEqual([3, 1, 2]);
    expect(await numbers(taken)).toEqual([20, 21, 0, 1, 20, 21]);
  });
});

describe("repeated", () => {
  it("gives a single row as often as asked for", async () => {
    const both = repeated(Tensor.from([1, 2], [1, 2, 1]), 3);
    expect(both.shape).toEqual([3, 2, 1]);
    expect(await numbers(both)).toEqual([1, 2, 1, 2, 1, 2]);
  });
});

import { joined, repeated, rows, textsIn } from "../../../lib/diffusion/condition";
import { Tensor } from "../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("conditions", () => {
  it("take texts in the order asked for, as often as asked for", async () => {
    const three = { context: Tensor.from([0, 1, 10, 11, 20, 21], [3, 1, 2]) };
    const { context } = rows(three, [2, 0, 2]);
    expect(textsIn(three)).toBe(3);
    expect(context.shape).toEqual([3, 1, 2]);
    expect(await numbers(context)).toEqual([20, 21, 0, 1, 20, 21]);
  });

  it("give a single text as often as asked for", async () => {
    const { context } = repeated({ context: Tensor.from([1, 2], [1, 2, 1]) }, 3);
    expect(context.shape).toEqual([3, 2, 1]);
    expect(await numbers(context)).toEqual([1, 2, 1, 2, 1, 2]);
  });

  it("stand one after the other when joined", async () => {
    const [one, two] = [Tensor.from([1, 2], [1, 2, 1]), Tensor.from([3, 4, 5, 6], [2, 2, 1])];
    const all = joined([{ context: two }, { context: one }]);
    expect(textsIn(all)).toBe(3);
    expect(await numbers(all.context)).toEqual([3, 4, 5, 6, 1, 2]);
  });

  it("carry their texts along, where all of them are known", () => {
    const context = Tensor.zeros([2, 1, 1]);
    const known = { context, texts: ["a", "b"] };
    expect(rows(known, [1, 0, 1]).texts).toEqual(["b", "a", "b"]);
    expect(repeated(rows(known, [1]), 2).texts).toEqual(["b", "b"]);
    expect(joined([known, rows(known, [0])]).texts).toEqual(["a", "b", "a"]);
    expect(joined([known, { context }]).texts).toBeUndefined();
    expect(rows({ context }, [0]).texts).toBeUndefined();
  });
});

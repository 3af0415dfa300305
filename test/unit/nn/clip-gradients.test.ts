import { clipGradients } from "../../../lib/nn/clip-gradients";
import { Tensor, type Dtype } from "../../../lib/runtime/tensor";

/** A leaf whose gradient is `gradient`. */
async function leaf(gradient: readonly number[], dtype: Dtype = "float32"): Promise<Tensor> {
  const tensor = await Tensor.zeros([gradient.length], { dtype }).requireGrad();
  await tensor
    .mul(Tensor.from(gradient, [gradient.length], { dtype }))
    .sum()
    .backward();
  return tensor;
}
const gradient = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.grad!.data(), Number);

describe("clipGradients", () => {
  it("scales all gradients by one factor to the given global norm, and gives the norm before", async () => {
    const [a, b] = [await leaf([3, 0]), await leaf([0, -4, 12])];
    expect(await clipGradients([a, b], 6.5)).toBeCloseTo(13, 5);
    const factor = 6.5 / (13 + 1e-6);
    expect(await gradient(a)).toEqual([expect.closeTo(3 * factor, 6), 0]);
    expect(await gradient(b)).toEqual([0, expect.closeTo(-4 * factor, 6), expect.closeTo(12 * factor, 6)]);
  });

  it("leaves gradients within the norm as they are, to the bit", async () => {
    const a = await leaf([0.1, 0.2]);
    expect(await clipGradients([a], 1)).toBeCloseTo(Math.hypot(0.1, 0.2), 6);
    expect(await gradient(a)).toEqual([Math.fround(0.1), Math.fround(0.2)]);
  });

  it("passes over tensors without a gradient", async () => {
    const [a, none] = [await leaf([3, 4]), Tensor.from([7], [1], { requiresGrad: true })];
    expect(await clipGradients([none, a], 1)).toBeCloseTo(5, 5);
    expect(none.grad).toBeNull();
    expect(await clipGradients([none], 1)).toBe(0);
  });

  it("takes bfloat16 and float32 together, with a norm in float32", async () => {
    const [a, b] = [await leaf(Array<number>(4096).fill(1), "bfloat16"), await leaf([3])];
    expect(await clipGradients([a, b], 1)).toBeCloseTo(Math.sqrt(4105), 3);
    expect((await gradient(b))[0]).toBeCloseTo(3 / Math.sqrt(4105), 6);
  });

  it("refuses gradients that are not finite and leaves them alone", async () => {
    const [a, b] = [await leaf([1, Infinity]), await leaf([2])];
    await expect(clipGradients([a, b], 1)).rejects.toMatchObject({
      name: "KpopError",
      code: "NUMERIC_FAILURE",
    });
    expect(await gradient(b)).toEqual([2]);
  });

  it("refuses an empty list and a norm that is none", async () => {
    const refused = { code: "INVALID_ARGUMENT" };
    await expect(clipGradients([], 1)).rejects.toMatchObject(refused);
    const a = await leaf([1]);
    for (const norm of [-1, NaN]) await expect(clipGradients([a], norm)).rejects.toMatchObject(refused);
  });
});

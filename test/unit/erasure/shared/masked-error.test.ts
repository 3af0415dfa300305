import { maskedError } from "../../../../lib/erasure/shared/masked-error";
import { Tensor } from "../../../../lib/runtime/tensor";

const a = Tensor.from([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 1, 2]);
const b = Tensor.from([0, 0, 0, 0, 4, 4, 4, 4], [2, 2, 1, 2]);

describe("maskedError", () => {
  it("is the mean over all elements where nothing is masked", async () => {
    expect(await maskedError(a, b, null).item()).toBeCloseTo((1 + 4 + 9 + 16 + 1 + 4 + 9 + 16) / 8, 6);
  });

  it("is each item's mean over what its mask keeps of every channel, and the mean of those", async () => {
    const mask = Tensor.from([0, 1, 1, 1], [2, 1, 1, 2]);
    const [first, second] = [(4 + 16) / 2, (1 + 4 + 9 + 16) / 4];
    expect(await maskedError(a, b, mask).item()).toBeCloseTo((first + second) / 2, 6);
  });

  it("has a gradient where the mask keeps, and none elsewhere", async () => {
    const x = Tensor.from([1, 2, 3, 4], [1, 2, 1, 2], { requiresGrad: true });
    const mask = Tensor.from([1, 0], [1, 1, 1, 2]);
    await maskedError(x, Tensor.zeros([1, 2, 1, 2]), mask).backward();
    expect(Array.from(await x.grad!.data(), Number)).toEqual([1, 0, 3, 0]);
  });
});

import { readLosses } from "../../../lib/training/read-losses";
import { Tensor } from "../../../lib/runtime/tensor";

describe("readLosses", () => {
  it("reads scalars by name in their order, graph or none, and leaves out those not computed", async () => {
    const weight = Tensor.from([3], [1], { requiresGrad: true });
    const losses = await readLosses({
      erase: weight.mul(2).sum(),
      preserve: null,
      recover: Tensor.from([0.5], []),
    });
    expect(Object.entries(losses)).toEqual([
      ["erase", 6],
      ["recover", 0.5],
    ]);
  });
});

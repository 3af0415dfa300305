import { gradEnabled, noGrad } from "../../../lib/runtime/grad-mode";
import { Tensor } from "../../../lib/runtime/tensor";

describe("noGrad", () => {
  it("holds inside, across awaits and calls, and not outside", async () => {
    expect(gradEnabled()).toBe(true);
    const inside = noGrad(async () => {
      const before = gradEnabled();
      await new Promise((resolve) => setTimeout(resolve, 5));
      return [before, gradEnabled(), noGrad(() => gradEnabled())];
    });
    // It travels with the call, and does not hold for what runs at the same time.
    expect(gradEnabled()).toBe(true);
    expect(await inside).toEqual([false, false, false]);
    expect(gradEnabled()).toBe(true);
  });

  it("ends where the function throws", () => {
    expect(() =>
      noGrad(() => {
        throw new Error("no");
      }),
    ).toThrow("no");
    expect(gradEnabled()).toBe(true);
  });

  it("records no graph for tensors that ask for one", async () => {
    const x = Tensor.from([3], [1], { requiresGrad: true });
    const y = noGrad(() => x.square());
    await expect(y.sum().backward()).rejects.toMatchObject({ name: "KpopError", code: "NATIVE_FAILURE" });
    await x.mul(y).sum().backward();
    expect(await x.grad!.item()).toBe(9);
  });
});

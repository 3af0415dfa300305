import { Trainer, type TrainerOptions } from "../../../../lib/erasure/shared/trainer";
import type { UNet2DConditionModel } from "../../../../lib/models/unet";
import { Tensor } from "../../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** A network of three weights, of which a and b are trained. */
function network(options?: TrainerOptions): { weights: Record<string, Tensor>; trainer: Promise<Trainer> } {
  const weights: Record<string, Tensor> = {
    a: Tensor.from([1, 2], [2]),
    b: Tensor.from([3], [1]),
    c: Tensor.from([4], [1]),
  };
  const unet = { parameter: (name: string) => weights[name] } as unknown as UNet2DConditionModel;
  return { weights, trainer: Trainer.create(unet, ["a", "b"], options) };
}
const loss = ({ a, b, c }: Record<string, Tensor>): Tensor => a!.sum().add(b!.sum()).add(c!.sum());

describe("Trainer", () => {
  it("moves the named weights by Adam's first step, and no other", async () => {
    const { weights, trainer } = network();
    const opened = await trainer;
    await opened.open();
    await loss(weights).backward();
    await opened.step(0.5);
    expect((await numbers(weights["a"]!)).map((value) => value.toFixed(5))).toEqual(["0.50000", "1.50000"]);
    expect((await numbers(weights["b"]!))[0]).toBeCloseTo(2.5, 5);
    expect(await numbers(weights["c"]!)).toEqual([4]);
  });

  it("asks for gradients only between open and step", async () => {
    const { weights, trainer } = network();
    const opened = await trainer;
    const differentiable = (): Promise<boolean> =>
      loss(weights)
        .backward()
        .then(
          () => true,
          () => false,
        );
    expect(await differentiable()).toBe(false);
    await opened.open();
    expect(await differentiable()).toBe(true);
    await opened.step(0.1);
    expect(await differentiable()).toBe(false);
  });

  it("adds up the gradients of several losses before a step, and begins the next with none", async () => {
    const { weights, trainer } = network();
    const opened = await trainer;
    await opened.open();
    await loss(weights).backward();
    await loss(weights).mul(2).backward();
    expect(await numbers(weights["a"]!.grad!)).toEqual([3, 3]);
    await opened.step(0.1);
    await opened.open();
    expect(weights["a"]!.grad).toBeNull();
  });

  it("passes on Adam's options, and scales the gradients down to a norm before its step", async () => {
    // eps of the gradients' own size makes Adam's first step depend on them: g / (|g| + eps).
    const { weights, trainer } = network({ eps: 1, maxGradientNorm: 0.5 });
    const opened = await trainer;
    await opened.open();
    await loss(weights).backward();
    await opened.step(1);
    // Three gradients of 1 have the norm √3.
    const g = 0.5 / Math.sqrt(3);
    expect((await numbers(weights["a"]!))[0]).toBeCloseTo(1 - g / (g + 1), 5);
    expect((await numbers(weights["b"]!))[0]).toBeCloseTo(3 - g / (g + 1), 5);
  });

  it("names live weights and moments for the saved state", async () => {
    const { weights, trainer } = network();
    const tensors = (await trainer).tensors();
    expect([...tensors.keys()].sort()).toEqual(
      [
        ...["weight.a", "weight.b"],
        ...["first.0", "first.1", "second.0", "second.1", "steps.0", "steps.1"].map(
          (name) => `optimizer.${name}`,
        ),
      ].sort(),
    );
    expect(tensors.get("weight.a")).toBe(weights["a"]);
  });
});

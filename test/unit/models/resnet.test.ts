import { ResNet, type ResNetForwardOptions } from "../../../lib/models/resnet";
import { Adam } from "../../../lib/nn/optimizer";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { seededWeights } from "../../support/seeded-weights";

const TINY = { depth: 18, num_classes: 3, width: 2, stem: "small" };

async function filled(config: Record<string, unknown> = TINY): Promise<ResNet> {
  const network = new ResNet(config);
  await network.assign(seededWeights(network.parameterShapes()));
  return network;
}
const images = (shape = [2, 3, 16, 16]): Tensor => new Random(9).normal(shape);

describe("ResNet", () => {
  it("is torchvision's resnet18 by default: 11,689,512 weights, and 20 norms with three statistics each", () => {
    const network = new ResNet();
    const shapes = network.parameterShapes();
    const count = (names: string[]): number =>
      names.reduce((sum, name) => sum + shapes[name]!.reduce((a, b) => a * b, 1), 0);
    expect(count(network.weightNames())).toBe(11_689_512);
    expect(network.statisticNames()).toHaveLength(60);
    expect(shapes["fc.weight"]).toEqual([1000, 512]);
  });

  it.each([
    [34, 21_797_672],
    [50, 25_557_032],
    [101, 44_549_160],
    [152, 60_192_808],
  ])("has torchvision's number of weights at depth %d", (depth, expected) => {
    const network = new ResNet({ depth });
    const shapes = network.parameterShapes();
    const counts = network.weightNames().map((name) => shapes[name]!.reduce((a, b) => a * b, 1));
    expect(counts.reduce((a, b) => a + b, 0)).toBe(expected);
  });

  it("classifies each picture by itself when it does not train", async () => {
    const network = await filled();
    const both = await network.forward(images());
    const first = await network.forward(images().slice(0, 0, 1));
    expect(await relativeError(both.slice(0, 0, 1), first)).toBeLessThan(1e-5);
  });

  it("normalises by the batch when it trains: brightness and contrast of all pictures cancel", async () => {
    const network = await filled();
    const logits = await network.forward(images(), { train: true });
    const other = await network.forward(images().mul(3), { train: true });
    expect(await relativeError(other, logits)).toBeLessThan(1e-3);
    expect(await relativeError(await network.forward(images().mul(3)), logits)).toBeGreaterThan(1e-2);
  });

  it("learns: some steps on one batch lower its loss", async () => {
    const network = await filled();
    const target = Tensor.from([1, 0, 0, 0, 0, 1], [2, 3]);
    const weights = network.weightNames().map((name) => network.parameter(name));
    for (const weight of weights) await weight.requireGrad();
    const optimizer = await Adam.create(weights);
    const loss = async (): Promise<Tensor> =>
      (await network.forward(images(), { train: true, grad: true })).logSoftmax().mul(target).sum().neg();
    const before = await (await loss()).item();
    for (let i = 0; i < 5; i++) {
      await (await loss()).backward();
      await optimizer.step(0.01);
    }
    expect(await (await loss()).item()).toBeLessThan(before / 2);
  });

  it("differentiates a single norm, everything else frozen, in the fastest layout", async () => {
    const [plain, fast] = [await filled(), await filled()];
    await fast.useFastestLayout();
    const gradients: Tensor[] = [];
    for (const network of [plain, fast]) {
      const weight = await network.parameter("bn1.weight").requireGrad();
      await (await network.forward(images(), { grad: true })).square().sum().backward();
      gradients.push(weight.grad!);
    }
    expect(await relativeError(gradients[1]!, gradients[0]!)).toBeLessThan(1e-4);
  });

  it("computes in bfloat16 with float32 statistics", async () => {
    const network = await filled();
    const whole = await network.forward(images());
    const half = await network.forward(images().to("bfloat16"));
    expect(half.dtype).toBe("bfloat16");
    expect(await relativeError(half.to("float32"), whole)).toBeLessThan(0.1);
  });

  it.each([
    ["depth", 20],
    ["stem", "large"],
    ["width", 0],
    ["num_classes", "ten"],
    ["layers", 4],
  ])("is refused where %s is %j", (field, value) => {
    expect(() => new ResNet({ ...TINY, [field]: value })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL", message: expect.stringContaining(field) }),
    );
  });

  it("refuses pictures of another shape or dtype, options that are none, and a single value per channel", async () => {
    const network = await filled();
    const refused = (message: string): object =>
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) }) as object;
    await expect(network.forward(images([2, 4, 16, 16]))).rejects.toEqual(refused("(B, 3, H, W)"));
    await expect(network.forward(images([3, 16, 16]))).rejects.toEqual(refused("(B, 3, H, W)"));
    await expect(network.forward(images().to("uint8"))).rejects.toEqual(refused("floating-point"));
    const misspelt = { training: true } as ResNetForwardOptions;
    await expect(network.forward(images(), misspelt)).rejects.toEqual(refused("training"));
    await expect(network.forward(images([1, 3, 8, 8]), { train: true })).rejects.toEqual(
      refused("more than one value per channel"),
    );
  });

  it("refuses a count of batches that is no int64, and statistics that training cannot write", async () => {
    const network = await filled();
    const assign = network.assign(new Map([["bn1.num_batches_tracked", Tensor.from([3], [])]]));
    await expect(assign).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await network.assign(new Map([["bn1.running_var", Tensor.from([1, 1], [2], { dtype: "float16" })]]));
    await network.forward(images());
    await expect(network.forward(images(), { train: true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("running_var"),
    });
  });

  it("refuses to run before it has its weights", async () => {
    await expect(new ResNet(TINY).forward(images())).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("conv1.weight"),
    });
  });
});

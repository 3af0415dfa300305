import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ResNet } from "../../lib/models/resnet";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { seededWeights } from "../support/seeded-weights";

// The reference is transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

interface Case {
  config: { depth: number; num_classes: number; width: number; stem: string };
  image: [number, number];
  shapes: Record<string, number[]>;
  logits: number[];
  gradient: number[];
  train: { logits: number[]; gradient: number[]; statistics: Record<string, number[]>; batches: number };
}
const { cases } = JSON.parse(
  readFileSync(join(__dirname, "..", "fixtures", "resnet", "reference.json"), "utf8"),
) as { cases: Record<string, Case> };

describe.each(Object.entries(cases))("residual classifier %s", (_, expected) => {
  const { config, shapes } = expected;
  const images = new Random(1000).normal([3, 3, ...expected.image]);
  const target = new Random(1001).normal([3, config.num_classes]);
  const like = (values: readonly number[], shape: readonly number[]): Tensor => Tensor.from(values, shape);

  async function filled(): Promise<ResNet> {
    const network = new ResNet(config);
    await network.assign(seededWeights(network.parameterShapes()));
    return network;
  }

  it("has torchvision's keys and shapes, in its order", () => {
    expect(Object.entries(new ResNet(config).parameterShapes())).toEqual(Object.entries(shapes));
  });

  it.each([false, true])("gives the reference's logits and gradient, in training %s", async (train) => {
    const network = await filled();
    const { logits, gradient } = train ? expected.train : expected;
    const weight = network.parameter("conv1.weight");
    await weight.requireGrad();
    const actual = await network.forward(images, { train, grad: true });
    expect(await relativeError(actual, like(logits, [3, config.num_classes]))).toBeLessThan(OUTPUT);
    await actual.mse(target).backward();
    expect(await relativeError(weight.grad!, like(gradient, weight.shape))).toBeLessThan(GRADIENT);
  });

  it("gives the same logits in the fastest layout, without a graph", async () => {
    const network = await filled();
    await network.useFastestLayout();
    const actual = await network.forward(images);
    expect(await relativeError(actual, like(expected.logits, actual.shape))).toBeLessThan(OUTPUT);
  });

  it("moves the running statistics as the reference does, in training only", async () => {
    const network = await filled();
    const start = seededWeights(shapes);
    await network.forward(images);
    for (const name of network.statisticNames())
      expect(await relativeError(network.parameter(name), start.get(name)!)).toBe(0);
    await network.forward(images, { train: true });
    for (const [name, values] of Object.entries(expected.train.statistics)) {
      const actual = network.parameter(name);
      expect(actual.written).toBe(true);
      expect(await relativeError(actual, like(values, actual.shape))).toBeLessThan(OUTPUT);
    }
    expect(await network.parameter("bn1.num_batches_tracked").item()).toBe(expected.train.batches);
  });
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { UNet2DConditionModel } from "../../lib/models/unet";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { loadGolden, type GoldenModel } from "../support/golden-model";

// The reference is diffusers in float32, its hooks and attention processors; the error is relative to the largest
// element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

/** Evenly spaced elements of a tensor, and the largest of all. */
interface Few {
  shape: number[];
  largest: number;
  step: number;
  values: number[];
}
interface Case {
  output: Few;
  noise: number[];
  gain_gradient: number[];
  upstream: Few;
}
const reference = JSON.parse(
  readFileSync(join(__dirname, "..", "fixtures", "taps", "reference.json"), "utf8"),
) as {
  noise: number[];
  taps: Record<string, Case>;
  attention: Record<string, Few>;
  parameters: { masked: string; adapted: string; noise: number[]; gradients: Few[] };
};

const SHAPE = [2, 4, 8, 8];
const UPSTREAM = "conv_in.weight";
const sample = new Random(1000).normal(SHAPE);
const context = new Random(1001).normal([2, 7, 32]);
const target = new Random(1002).normal(SHAPE);
const timesteps = [7, 300];
const noise = (values: readonly number[]): Tensor => Tensor.from(values, SHAPE);

async function errorOfFew(actual: Tensor, few: Few): Promise<number> {
  expect(actual.shape).toEqual(few.shape);
  const values = await actual.data();
  return (
    Math.max(...few.values.map((value, i) => Math.abs(Number(values[i * few.step]) - value))) / few.largest
  );
}

describe("the parts of the UNet", () => {
  let golden: GoldenModel;
  let unet: UNet2DConditionModel;
  let plain: Tensor;

  beforeAll(async () => {
    golden = await loadGolden("small");
    ({ unet } = golden.model);
    plain = await unet.forward(sample, timesteps, context);
    expect(await relativeError(plain, noise(reference.noise))).toBeLessThan(OUTPUT);
  });
  afterAll(() => golden.dispose());

  it("shows every module's output as the reference has it, without a bit of change", async () => {
    const seen: string[] = [];
    const taps = Object.entries(reference.taps).map(([name, { output }]) => [
      name,
      async (actual: Tensor) => {
        seen.push(name);
        expect([name, (await errorOfFew(actual, output)) < OUTPUT]).toEqual([name, true]);
      },
    ]);
    const out = await unet.forward(sample, timesteps, context, { taps: Object.fromEntries(taps) });
    expect(await relativeError(out, plain)).toBe(0);
    // In the order of the forward, whatever theirs was.
    expect(seen).toEqual(unet.tapNames().filter((name) => name in reference.taps));
    expect(seen).toHaveLength(Object.keys(reference.taps).length);
  });

  it.each(Object.entries(reference.taps))(
    "goes on with another output of %s, and differentiates through it",
    async (name, expected) => {
      const { shape } = expected.output;
      const width = shape[shape.length - 1]!;
      const gain = await new Random(2000).normal([width]).mul(0.2).add(1).detach().requireGrad();
      const weight = await unet.parameter(UPSTREAM).requireGrad();
      const taps = { [name]: (output: Tensor) => output.mul(gain) };
      const without = await unet.forward(sample, timesteps, context, { taps });
      const out = await unet.forward(sample, timesteps, context, { grad: true, taps });
      await out.mse(target).backward();
      await weight.requireGrad(false);
      expect(await relativeError(without, noise(expected.noise))).toBeLessThan(OUTPUT);
      expect(await relativeError(out, noise(expected.noise))).toBeLessThan(OUTPUT);
      expect(await relativeError(gain.grad!, Tensor.from(expected.gain_gradient, [width]))).toBeLessThan(
        GRADIENT,
      );
      expect(await errorOfFew(weight.grad!, expected.upstream)).toBeLessThan(GRADIENT);
      await weight.zeroGrad();
      expect(await relativeError(await unet.forward(sample, timesteps, context), plain)).toBe(0);
    },
  );

  it("gives attention probabilities with their graph, going no further than it must", async () => {
    const names = Object.keys(reference.attention);
    const keys = names.map((name) => unet.parameter(name.replace(/probabilities$/, "to_k.weight")));
    for (const key of keys) await key.requireGrad();
    const found = await unet.activations(sample, timesteps, context, names, { grad: true });
    for (const [index, name] of names.entries()) {
      const probabilities = found.get(name)!;
      expect(await relativeError(probabilities.sum(-1), probabilities.sum(-1).mul(0).add(1))).toBeLessThan(
        1e-5,
      );
      await probabilities.square().sum().backward([keys[index]!]);
      expect(await errorOfFew(keys[index]!.grad!, reference.attention[name]!)).toBeLessThan(GRADIENT);
      await keys[index]!.zeroGrad();
      await keys[index]!.requireGrad(false);
    }
  });

  it("computes with other tensors in the place of parameters, in this forward and no other", async () => {
    const { masked, adapted, noise: expected, gradients } = reference.parameters;
    const [weight, convolution] = [unet.parameter(masked), unet.parameter(adapted)];
    const [out = 0, ...rest] = convolution.shape;
    const mask = await new Random(3000).normal(weight.shape).requireGrad();
    const up = await new Random(3001).normal([out, 2]).requireGrad();
    const down = await new Random(3002)
      .normal([2, rest.reduce((a, b) => a * b, 1)])
      .mul(0.1)
      .requireGrad();
    const parameters = new Map([
      [masked, weight.mul(mask)],
      [adapted, convolution.add(up.matmul(down).reshape(convolution.shape))],
    ]);
    const taps = { mid_block: () => void 0 };
    const [whole, interrupted, around] = await Promise.all([
      unet.forward(sample, timesteps, context, { parameters, grad: true }),
      unet.forward(sample, timesteps, context, { parameters, taps }),
      unet.forward(sample, timesteps, context),
    ]);
    expect(await relativeError(whole, noise(expected))).toBeLessThan(OUTPUT);
    expect(await relativeError(interrupted, whole)).toBe(0);
    expect(await relativeError(around, plain)).toBe(0);
    await whole.mse(target).backward();
    for (const [index, leaf] of [mask, up, down].entries())
      expect(await errorOfFew(leaf.grad!, gradients[index]!)).toBeLessThan(GRADIENT);
  });
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as safetensors from "../../lib/io/safetensors";
import { UNet2DConditionModel } from "../../lib/models/unet";
import { Random } from "../../lib/runtime/random";
import type { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { resultOf, runProgram } from "../support/program";
import { seededWeights } from "../support/seeded-weights";
import { temporaryFolders } from "../support/temporary";

// The reference is diffusers in float64; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 2e-5;

const temporary = temporaryFolders();
const fixture = (name: string): string => join(__dirname, "..", "fixtures", "large-maps", name);
const normal = (seed: number, shape: number[]): Tensor => new Random(seed).normal(shape);

const network = (): UNet2DConditionModel =>
  new UNet2DConditionModel(JSON.parse(readFileSync(fixture("config.json"), "utf8")));
const weightsOf = (unet: UNet2DConditionModel): Map<string, Tensor> =>
  seededWeights(
    Object.fromEntries(Object.entries(unet.parameterShapes()).sort(([a], [b]) => (a < b ? -1 : 1))),
  );

describe.each([
  ["channels last, where convolutions of tiles are", true],
  ["contiguous", false],
])("maps and products of hundreds of pixels, weights %s", (_, fastest) => {
  let unet: UNet2DConditionModel;
  let expected: Map<string, Tensor>;
  const context = normal(2, [2, 77, 64]);

  beforeAll(async () => {
    unet = network();
    await unet.assign(weightsOf(unet));
    if (fastest) await unet.useFastestLayout();
    expected = await safetensors.load(fixture("expected.safetensors"));
  });

  it("predict the reference's noise, in tiles that reach beyond the map too", async () => {
    const out = await unet.forward(normal(1, [2, 4, 32, 32]), [17, 801], context);
    expect(await relativeError(out, expected.get("out")!)).toBeLessThan(OUTPUT);
    const ragged = await unet.forward(normal(3, [1, 4, 44, 36]), 17, context.slice(0, 0, 1));
    expect(await relativeError(ragged, expected.get("out.ragged")!)).toBeLessThan(OUTPUT);
  });

  it("have the reference's gradients", async () => {
    const sample = normal(1, [2, 4, 32, 32]);
    const names = [...expected.keys()].filter((key) => /^grad\..*\.(weight|bias)$/.test(key));
    const weights = names.map((key) => unet.parameter(key.slice("grad.".length)));
    await Promise.all([sample, ...weights].map((tensor) => tensor.requireGrad()));
    const out = await unet.forward(sample, [17, 801], context, { grad: true });
    await out.mse(normal(4, [2, 4, 32, 32])).backward();
    expect(await relativeError(sample.grad!, expected.get("grad.sample")!)).toBeLessThan(GRADIENT);
    for (const [index, key] of names.entries()) {
      const reference = expected.get(key)!;
      const some = weights[index]!.grad!.slice(0, 0, reference.shape[0]);
      expect(await relativeError(some, reference)).toBeLessThan(GRADIENT);
    }
  });
});

it.each(["avx2", "default"])(
  "predictions and gradients by no more than the instructions of %s are the reference's",
  async (capability) => {
    const folder = temporary();
    const [weights, results] = [join(folder, "weights.safetensors"), join(folder, "results.safetensors")];
    await safetensors.save(weights, weightsOf(network()));
    const env = { ATEN_CPU_CAPABILITY: capability };
    resultOf(await runProgram("large-map.mjs", [fixture("config.json"), weights, results], { env }));
    const found = await safetensors.load(results);
    const expected = await safetensors.load(fixture("expected.safetensors"));
    expect(await relativeError(found.get("out")!, expected.get("out")!)).toBeLessThan(OUTPUT);
    const [own, reference] = [found, expected].map((tensors) => tensors.get("grad.sample")!);
    expect(await relativeError(own!, reference!)).toBeLessThan(GRADIENT);
  },
);

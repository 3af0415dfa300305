import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CLIPModel } from "../../lib/models/clip";
import { CLIPTextModel } from "../../lib/models/clip-text";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { seededWeights } from "../support/seeded-weights";

// The reference is transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

interface Reference {
  config: { text_config: object; vision_config: object; projection_dim: number };
  shapes: Record<string, number[]>;
  ids: number[][];
  text: number[];
  textOfOldConfig: number[];
  image: number[];
  gradients: { text: number[]; image: number[] };
  ownEmbeddings: number[];
  states: number[];
  embeddingsGradient: number[];
}
const expected = JSON.parse(
  readFileSync(join(__dirname, "..", "fixtures", "clip", "reference.json"), "utf8"),
) as Reference;

const ids = Tensor.from(expected.ids.flat(), [2, 6], { dtype: "int64" });
const pixels = new Random(1000).normal([2, 3, 24, 24]);
// By key, since a network may list its parameters in another order than the reference.
const weights = (): Map<string, Tensor> => seededWeights(expected.shapes);
const like = (values: readonly number[], shape: readonly number[]): Tensor => Tensor.from(values, shape);

async function filled(text: object = {}): Promise<CLIPModel> {
  const { config } = expected;
  const model = new CLIPModel({ ...config, text_config: { ...config.text_config, ...text } });
  await model.assign(weights());
  return model;
}

describe("CLIPModel", () => {
  it("has transformers' keys and shapes", () => {
    expect(new CLIPModel(expected.config).parameterShapes()).toEqual(expected.shapes);
  });

  it("gives the reference's text features and gradient", async () => {
    const model = await filled();
    const key = "text_model.embeddings.position_embedding.weight";
    const weight = await model.parameter(key).requireGrad();
    const features = await model.textFeatures(ids, { grad: true });
    expect(await relativeError(features, like(expected.text, [2, 16]))).toBeLessThan(OUTPUT);
    await features.mse(new Random(1001).normal([2, 16])).backward();
    expect(await relativeError(weight.grad!, like(expected.gradients.text, weight.shape))).toBeLessThan(
      GRADIENT,
    );
  });

  it("reads the text features at the highest id where the end token is 2, as old configurations have it", async () => {
    const features = await (await filled({ eos_token_id: 2 })).textFeatures(ids);
    expect(await relativeError(features, like(expected.textOfOldConfig, [2, 16]))).toBeLessThan(OUTPUT);
    expect(await relativeError(features, like(expected.text, [2, 16]))).toBeGreaterThan(0.1);
  });

  it("gives the reference's image features and gradient", async () => {
    const model = await filled();
    const weight = await model.parameter("vision_model.embeddings.patch_embedding.weight").requireGrad();
    const features = await model.imageFeatures(pixels, { grad: true });
    expect(await relativeError(features, like(expected.image, [2, 16]))).toBeLessThan(OUTPUT);
    await features.mse(new Random(1001).normal([2, 16])).backward();
    expect(await relativeError(weight.grad!, like(expected.gradients.image, weight.shape))).toBeLessThan(
      GRADIENT,
    );
  });
});

describe("CLIPTextModel on embeddings of the caller", () => {
  async function tower(): Promise<CLIPTextModel> {
    const encoder = new CLIPTextModel({ ...expected.config.text_config });
    await encoder.assign(new Map([...weights()].filter(([name]) => encoder.parameterShapes()[name])));
    return encoder;
  }

  it("looks up the reference's token embeddings", async () => {
    const own = await (await tower()).embedTokens(ids);
    expect(await relativeError(own, like(expected.ownEmbeddings, [2, 6, 24]))).toBe(0);
  });

  it("gives the reference's states, and the embeddings their gradient", async () => {
    const encoder = await tower();
    const change = new Random(1003).normal([2, 6, 24]);
    const embeddings = await (await encoder.embedTokens(ids)).add(change).requireGrad();
    const states = await encoder.forward(ids, { embeddings, grad: true });
    expect(await relativeError(states, like(expected.states, [2, 6, 24]))).toBeLessThan(OUTPUT);
    await states.mse(new Random(1002).normal([2, 6, 24])).backward();
    expect(await relativeError(embeddings.grad!, like(expected.embeddingsGradient, [2, 6, 24]))).toBeLessThan(
      GRADIENT,
    );
  });
});

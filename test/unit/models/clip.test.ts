import { CLIPModel } from "../../../lib/models/clip";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { seededWeights } from "../../support/seeded-weights";

const TEXT = {
  vocab_size: 30,
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 6,
  eos_token_id: 29,
};
const VISION = {
  hidden_size: 12,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  image_size: 8,
  patch_size: 4,
};
const SMALL = { text_config: TEXT, vision_config: VISION, projection_dim: 5 };

async function filled(): Promise<CLIPModel> {
  const model = new CLIPModel(SMALL);
  await model.assign(seededWeights(model.parameterShapes()));
  return model;
}
const ids = (...rows: number[][]): Tensor =>
  Tensor.from(rows.flat(), [rows.length, rows[0]!.length], { dtype: "int64" });
const pixels = (shape = [2, 3, 8, 8]): Tensor => new Random(9).normal(shape);

describe("CLIPModel", () => {
  it("projects texts and pictures into one space", async () => {
    const model = await filled();
    expect((await model.textFeatures(ids([1, 2, 29], [3, 29, 29]))).shape).toEqual([2, 5]);
    expect((await model.imageFeatures(pixels())).shape).toEqual([2, 5]);
  });

  it("reads a text up to its end token and not beyond", async () => {
    const model = await filled();
    const short = await model.textFeatures(ids([1, 2, 29, 29, 29]));
    expect(await relativeError(await model.textFeatures(ids([1, 2, 29, 7, 8])), short)).toBeLessThan(1e-6);
    expect(await relativeError(await model.textFeatures(ids([1, 3, 29, 29, 29])), short)).toBeGreaterThan(1e-3);
  });

  it("sees the places of patches: a picture upside down has other features", async () => {
    const model = await filled();
    const picture = pixels();
    const turned = Tensor.cat([picture.slice(2, 4, 8), picture.slice(2, 0, 4)], 2);
    const features = await model.imageFeatures(picture);
    expect(await relativeError(await model.imageFeatures(turned), features)).toBeGreaterThan(1e-3);
  });

  it("computes in bfloat16 where the pixels are of it", async () => {
    const model = await filled();
    const half = await model.imageFeatures(pixels().to("bfloat16"));
    expect(half.dtype).toBe("bfloat16");
    expect(await relativeError(half.to("float32"), await model.imageFeatures(pixels()))).toBeLessThan(0.05);
  });

  it("has transformers' defaults (ViT-B/32) where a configuration says nothing", () => {
    const { config } = new CLIPModel({});
    expect(config.projection_dim).toBe(512);
    expect(config.text_config).toMatchObject({ hidden_size: 512, eos_token_id: 49407 });
    expect(config.vision_config).toMatchObject({ hidden_size: 768, patch_size: 32, image_size: 224 });
  });

  it("takes a tower's second configuration before its first, as transformers does", () => {
    const raw = { ...SMALL, text_config_dict: { ...TEXT, hidden_size: 16 }, vision_config_dict: null };
    const { config } = new CLIPModel(raw);
    expect(config.text_config.hidden_size).toBe(16);
    expect(config.vision_config.hidden_size).toBe(12);
  });

  it.each([
    ["a field that is unknown", { ...SMALL, pooling: "mean" }, '"pooling"'],
    ["another kind of model", { ...SMALL, model_type: "siglip" }, '"model_type"'],
    ["an activation of the text tower", { ...SMALL, text_config: { ...TEXT, hidden_act: "relu" } }, "text_config"],
    ["a list of end tokens", { ...SMALL, text_config: { ...TEXT, eos_token_id: [2, 3] } }, '"eos_token_id"'],
    ["rectangular pictures", { ...SMALL, vision_config: { ...VISION, image_size: [8, 4] } }, '"image_size"'],
    ["patches beyond the picture", { ...SMALL, vision_config: { ...VISION, patch_size: 9 } }, "patch_size"],
    ["a billion layers", { ...SMALL, vision_config: { ...VISION, num_hidden_layers: 1e9 } }, '"num_hidden_layers"'],
    ["heads that do not fit", { ...SMALL, vision_config: { ...VISION, num_attention_heads: 5 } }, "heads"],
    ["a tower that is no object", { ...SMALL, vision_config: "vit" }, '"vision_config"'],
  ])("refuses %s", (_, raw, message) => {
    expect(() => new CLIPModel(raw)).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL", message: expect.stringContaining(message) }),
    );
  });

  it("refuses a text without end token, ids outside the vocabulary, and pictures of another size", async () => {
    const model = await filled();
    const refused = (message: string): object =>
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) }) as object;
    await expect(model.textFeatures(ids([1, 29], [1, 2]))).rejects.toEqual(refused("end token 29"));
    await expect(model.textFeatures(ids([1, 30]))).rejects.toEqual(refused("0 to 29"));
    await expect(model.textFeatures(ids([1, 2, 3, 4, 5, 6, 29]))).rejects.toEqual(refused("at most 6"));
    await expect(model.imageFeatures(pixels([2, 3, 8, 16]))).rejects.toEqual(refused("(B, 3, 8, 8)"));
    await expect(model.imageFeatures(pixels([3, 8, 8]))).rejects.toEqual(refused("(B, 3, 8, 8)"));
  });
});

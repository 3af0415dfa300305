import { CLIPTextModel } from "../../../lib/models/clip-text";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";

const SMALL = {
  vocab_size: 50,
  hidden_size: 12,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 8,
};

async function filled(config: Record<string, unknown> = {}): Promise<CLIPTextModel> {
  const encoder = new CLIPTextModel({ ...SMALL, ...config });
  const draw = new Random(3);
  const weights = Object.entries(encoder.parameterShapes()).map(
    ([name, shape]) => [name, draw.at(name).normal(shape).mul(0.3)] as const,
  );
  await encoder.assign(new Map(weights));
  return encoder;
}

const ids = (values: number[], rows = 1): Tensor =>
  Tensor.from(values, [rows, values.length / rows], { dtype: "int64" });

describe("CLIPTextModel", () => {
  it("gives a state for each token", async () => {
    const out = await (await filled()).forward(ids([1, 2, 3, 4, 5, 6], 2));
    expect(out.shape).toEqual([2, 3, 12]);
  });

  it("is causal: a token changes its own state and later ones, no earlier one", async () => {
    const encoder = await filled();
    const a = await encoder.forward(ids([1, 2, 3, 4, 5]));
    const b = await encoder.forward(ids([1, 2, 9, 4, 5]));
    const part = (out: Tensor, from: number, to: number): Tensor => out.slice(1, from, to);
    expect(await relativeError(part(b, 0, 2), part(a, 0, 2))).toBeLessThan(1e-6);
    for (const token of [2, 3, 4])
      expect(await relativeError(part(b, token, token + 1), part(a, token, token + 1))).toBeGreaterThan(1e-3);
  });

  it("has another function with gelu than with quick_gelu", async () => {
    const quick = await (await filled()).forward(ids([1, 2, 3]));
    const exact = await (await filled({ hidden_act: "gelu" })).forward(ids([1, 2, 3]));
    expect(await relativeError(exact, quick)).toBeGreaterThan(1e-4);
  });

  it("ignores what transformers notes about training and text generation", () => {
    const raw = { ...SMALL, torch_dtype: "float16", attention_dropout: 0.1, eos_token_id: 2, model_type: "clip_text_model" };
    expect(new CLIPTextModel(raw).config).toMatchObject(SMALL);
  });

  it.each([
    ["model_type", "t5"],
    ["hidden_act", "relu"],
    ["num_attention_heads", 5],
    ["num_hidden_layers", 1e9],
    ["unheard_of", 1],
  ])("is refused where %s is %j", (field, value) => {
    expect(() => new CLIPTextModel({ ...SMALL, [field]: value })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL" }),
    );
  });

  it("gives the same states for the ids' own embeddings, and others for changed ones", async () => {
    const encoder = await filled();
    const tokens = ids([1, 2, 3]);
    const own = await encoder.embedTokens(tokens);
    expect(own.shape).toEqual([1, 3, 12]);
    const states = await encoder.forward(tokens);
    expect(await relativeError(await encoder.forward(tokens, { embeddings: own }), states)).toBe(0);
    const changed = await encoder.forward(tokens, { embeddings: own.mul(2) });
    expect(await relativeError(changed, states)).toBeGreaterThan(1e-3);
  });

  it("differentiates the embedding table through embedTokens and forward", async () => {
    const encoder = await filled();
    const table = await encoder.parameter("text_model.embeddings.token_embedding.weight").requireGrad();
    const embeddings = await encoder.embedTokens(ids([4, 5]), { grad: true });
    await (await encoder.forward(ids([4, 5]), { embeddings, grad: true })).square().sum().backward();
    const sums = Array.from(await table.grad!.abs().sum(1).data(), Number);
    expect(sums.flatMap((sum, row) => (sum > 0 ? [row] : []))).toEqual([4, 5]);
  });

  it("refuses embeddings of another shape than the ids ask for, and unknown options", async () => {
    const encoder = await filled();
    for (const shape of [[1, 2, 12], [1, 3, 11], [3, 12]]) {
      const embeddings = Tensor.zeros(shape);
      await expect(encoder.forward(ids([1, 2, 3]), { embeddings })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("inputs_embeds"),
      });
    }
    await expect(encoder.forward(ids([1]), { embedding: 1 } as object)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("refuses ids outside the vocabulary, too many of them, and other dtypes", async () => {
    const encoder = await filled();
    const computed = Tensor.cat([ids([1]), ids([50])], 1);
    const wrong = [ids([1, 50]), ids([-1]), computed, ids([1, 2, 3, 4, 5, 6, 7, 8, 9]), Tensor.from([1, 2], [1, 2])];
    for (const tokens of wrong)
      await expect(encoder.forward(tokens)).rejects.toMatchObject({ name: "KpopError", code: "INVALID_ARGUMENT" });
  });
});

import type { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { TOKEN_EMBEDDING, TrainedWords, wordsOf } from "../../../../lib/erasure/shared/trained-words";
import { noGrad } from "../../../../lib/runtime/grad-mode";
import { Random } from "../../../../lib/runtime/random";
import type { Tensor } from "../../../../lib/runtime/tensor";
import { relativeError } from "../../../support/compare";
import { stubJob } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";

const PROMPTS = ["a photo of a church", "church dog", "fish"];

describe("trained words", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const ids = (text: string): number[] =>
    golden.model.tokenizer.encode(text, { padding: false })[0]!.slice(1, -1);
  const train = async (student: StableDiffusion, text: string): Promise<TrainedWords> => {
    const job = stubJob({ base: golden.model, student });
    return (await TrainedWords.instead(job, "embedding", () => ids(text)))!;
  };
  const table = (model = golden.model): Tensor => model.textEncoder.parameter(TOKEN_EMBEDDING);

  it("are the concepts' tokens that their own anchors have not, once each", () => {
    const words = (...pairs: [concept: string, anchor: string][]): number[] =>
      wordsOf(
        golden.model.tokenizer,
        pairs.map(([concept, anchor]) => ({ concept, anchor })),
      );
    expect(words(["grumpy cat", "cat"])).toEqual(ids("grumpy"));
    expect(words(["old church", "house"], ["church", "castle"])).toEqual([...ids("old"), ...ids("church")]);
    expect(() => words(["cat", "grumpy cat"])).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining('"cat"') as string,
      }),
    );
  });

  it("are none where weights are trained, and refuse prompts to preserve", async () => {
    const wanted = (): never => {
      throw new Error("no ids are needed");
    };
    expect(await TrainedWords.instead(stubJob({ base: golden.model }), "xattn", wanted)).toBeNull();
    const preserving = stubJob({ base: golden.model, preserve: ["a dog"] });
    await expect(TrainedWords.instead(preserving, "embedding", () => [1])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/no prompts in preserve/) as string,
    });
  });

  it("encode prompts as the model does, within 1e-6, before anything is trained", async () => {
    const words = await train(golden.model, "church dog");
    const { context } = await noGrad(() => words.encode(PROMPTS));
    expect(await relativeError(context, await golden.model.encode(PROMPTS))).toBeLessThan(1e-6);
    words.embeddings.dispose();
  });

  it("encode prompts with other rows as the result does once they are written, and no other row is", async () => {
    const result = await golden.model.derive(new Set([TOKEN_EMBEDDING]), "float32", "textEncoder");
    const own = ids("church dog");
    const words = await train(result, "church dog");
    await words.embeddings.copyFrom(new Random(1).normal(words.embeddings.shape));
    const before = await tensorHash(table());
    await words.write();
    const { context } = await noGrad(() => words.encode(PROMPTS));
    expect(await relativeError(context, await result.encode(PROMPTS))).toBeLessThan(1e-6);
    expect(await tensorHash(table())).toBe(before);
    const difference = await table(result).sub(table()).abs().amax(1).data();
    const changed = Array.from(difference.keys()).filter((row) => difference[row] !== 0);
    expect(changed).toEqual([...own].sort((a, b) => a - b));
    words.embeddings.dispose();
    result.dispose();
  });

  it("have a gradient that finite differences agree with, within 2 %", async () => {
    const words = await train(golden.model, "church");
    const direction = new Random(2).normal(words.embeddings.shape);
    const shape = [PROMPTS.length, golden.model.tokenizer.maxLength, words.embeddings.shape[1]!];
    const weights = new Random(3).normal(shape);
    const loss = async (): Promise<Tensor> => (await words.encode(PROMPTS)).context.mul(weights).sum();
    await words.embeddings.requireGrad();
    await (await loss()).backward();
    const slope = await words.embeddings.grad!.mul(direction).sum().item();
    await words.embeddings.requireGrad(false);
    const start = words.embeddings.clone();
    const at = async (step: number): Promise<number> => {
      await words.embeddings.copyFrom(start.add(direction.mul(step)));
      return (await loss()).item();
    };
    const step = 1e-3;
    const measured = ((await at(step)) - (await at(-step))) / (2 * step);
    expect(Math.abs(slope / measured - 1)).toBeLessThan(0.02);
    words.embeddings.dispose();
  });
});

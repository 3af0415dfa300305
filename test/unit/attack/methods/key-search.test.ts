import { attack } from "../../../../lib/attack/attack";
import type { KeySearchOptions } from "../../../../lib/attack/methods/key-search";
import type { PromptKey } from "../../../../lib/diffusion/prompt-key";
import { Random } from "../../../../lib/runtime/random";
import { BrightnessClassifier } from "../../../support/brightness-classifier";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";

describe("the search for a key", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const run = (options: object = {}) =>
    attack(golden.model, {
      method: "key-search",
      concept: "church",
      classifier: new BrightnessClassifier(128),
      images: [0, 30].map((seed) => discPicture(golden.model.imageSize, golden.model.imageSize, seed)),
      imagesPerInput: 1,
      steps: 1,
      iterations: 4,
      batchSize: 1,
      looks: 2,
      seed: 3,
      ...options,
    });
  const keysOf = async (options: object = {}): Promise<PromptKey[]> =>
    (await run(options)).inputs.map(({ key }) => key!);

  it("starts at seeded normal draws, and moves every element by the rate in Adam's first step", async () => {
    const width = golden.model.unet.config.cross_attention_dim;
    const start = new Random(3).at("prompt").normal([6, width]).mul(0.5);
    const [key] = await keysOf({ size: 6, scale: 0.5, iterations: 1, looks: 1, learningRate: 1e-2 });
    expect(key).toMatchObject({ mechanism: "concat", layers: "mid", concepts: ["church"] });
    const moved = Array.from(await key!.prompt.sub(start).abs().data(), Number);
    // Where a gradient is as small as Adam's ε, the step is smaller.
    expect(Math.max(...moved)).toBeCloseTo(1e-2, 4);
    expect(moved.filter((step) => step > 0.99e-2).length / moved.length).toBeGreaterThan(0.9);
  });

  it("learns in the layers it is given: on the same draws, the loss ends below that of a prompt that stays", async () => {
    const last = async (learningRate: number): Promise<number> => {
      const { history } = await run({ iterations: 40, looks: 1, layers: "all", learningRate });
      return history.slice(20).reduce((sum, { losses }) => sum + losses["denoising"]! / 20, 0);
    };
    expect(await last(5e-2)).toBeLessThan((await last(0)) - 1e-3);
  });

  it("tries the key on the way: each look is the key that a run of that length ends with", async () => {
    const { inputs } = await run({ learningRate: 1e-2 });
    expect(inputs.map(({ name }) => name)).toEqual(["after 2", "after 4"]);
    const [short] = await keysOf({ iterations: 2, looks: 1, learningRate: 1e-2 });
    expect(await tensorHash(inputs[0]!.key!.prompt)).toBe(await tensorHash(short!.prompt));
    expect(await tensorHash(inputs[1]!.key!.prompt)).not.toBe(await tensorHash(short!.prompt));
  });

  it("gives an additive key the text's rows", async () => {
    const [key] = await keysOf({ mechanism: "additive", iterations: 1, looks: 1 });
    expect(key!.prompt.shape).toEqual([
      golden.model.tokenizer.maxLength,
      golden.model.unet.config.cross_attention_dim,
    ]);
  });

  it.each<[Partial<KeySearchOptions>, number[]]>([
    [{ form: "amortised", hidden: 5 }, [10, 32]],
    [{ form: "amortised", hidden: 5, mechanism: "additive", layers: "all" }, [10, 32]],
    [{ place: "token", size: 3 }, [3, 32]],
  ])("looks for a key of any form and place: %j", async (kind, shape) => {
    const { inputs, history } = await run({ ...kind, learningRate: 1e-2 });
    const [first, last] = inputs.map(({ key }) => key!);
    expect(last!.prompt.shape).toEqual(shape);
    const { form = "free", place = "cross-attention", mechanism = "concat", layers = "mid" } = kind;
    expect(last).toMatchObject({ form, place, mechanism, layers });
    expect(await tensorHash(first!.prompt)).not.toBe(await tensorHash(last!.prompt));
    expect(history.every(({ losses }) => losses["denoising"]! > 0)).toBe(true);
  });

  it("refuses what has no such place, and more words than a text has room for", async () => {
    for (const [options, message] of [
      [{ form: "amortised", place: "token" }, /form to be "free"/],
      [{ place: "token", size: 75 }, /size/],
    ] as const)
      await expect(run(options)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
  });

  it("resumes to the bits of a run that was not interrupted, earlier looks among them", async () => {
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = ({ iteration }: { iteration: number }): void => {
      if (iteration === 3) controller.abort();
    };
    await expect(run({ checkpoint, onStep, signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const hashes = async (keys: PromptKey[]): Promise<string[]> =>
      Promise.all(keys.map(({ prompt }) => tensorHash(prompt)));
    expect(await hashes(await keysOf({ checkpoint, resume: true }))).toEqual(await hashes(await keysOf()));
    const other = run({ checkpoint, resume: true, size: 5 });
    await expect(other).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

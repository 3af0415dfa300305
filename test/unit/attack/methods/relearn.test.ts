import { readFileSync } from "node:fs";
import { join } from "node:path";
import { attack, type AttackResult } from "../../../../lib/attack/attack";
import { applyLora } from "../../../../lib/diffusion/apply-lora";
import { Lora } from "../../../../lib/diffusion/lora";
import { predictNoise } from "../../../../lib/diffusion/predict";
import { erase } from "../../../../lib/erasure/erase";
import { rate } from "../../../../lib/evaluation/rates";
import { Inversion } from "../../../../lib/inversion/inversion";
import { Random } from "../../../../lib/runtime/random";
import { BrightnessClassifier, redness } from "../../../support/brightness-classifier";
import { relativeError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash, weightHashes } from "../../../support/hashes";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";

interface Few {
  step: number;
  values: number[];
}
interface Reference {
  options: Record<string, unknown> & { initial: string; wordRate: number };
  losses: number[];
  looks: { word: Few; lora: Record<string, { up: Few; down: Few }> }[];
}
const reference = JSON.parse(
  readFileSync(join(__dirname, "..", "..", "..", "fixtures", "relearn", "reference.json"), "utf8"),
) as Reference;

const drawing = { steps: 1, guidanceScale: 2, sampler: "ddim" as const };

describe("relearning", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const pictures = (count: number, { imageSize: side } = golden.model) =>
    Array.from({ length: count }, (_, i) => discPicture(side, side, 30 * i));
  const run = (options: object = {}, { model } = golden): Promise<AttackResult> =>
    attack(model, {
      ...{ method: "relearn", concept: "church", classifier: new BrightnessClassifier(128) },
      ...{
        images: pictures(1, model),
        imagesPerInput: 1,
        batchSize: 1,
        after: [1, 3],
        ...drawing,
        ...options,
      },
    });
  /** All that an input holds. */
  const bits = ({ inputs }: AttackResult): Promise<string[]> =>
    Promise.all(
      inputs
        .flatMap(({ tokens, lora }) => [tokens![0]!.embeddings, ...lora!.tensors().values()])
        .map(tensorHash),
    );

  it("moves word and weights as PyTorch's Adam does", async () => {
    const { options, losses, looks } = reference;
    const whole = await loadGolden("small");
    const result = await run(options, whole);
    result.history.forEach(({ losses: own }, i) =>
      expect(own["denoising"]! / losses[i]! - 1).toBeCloseTo(0, 4),
    );
    expect(result.inputs.map(({ name, prompt }) => [name, prompt])).toEqual([
      ["after 1", "a photo of a <relearned>"],
      ["after 2", "a photo of a <relearned>"],
    ]);
    const start = golden.model.textEncoder
      .parameter("text_model.embeddings.token_embedding.weight")
      .rows(golden.model.tokenizer.encode(options.initial, { padding: false })[0]!.slice(1, -1))
      .to("float32")
      .mean(0, true);
    for (const [look, expected] of looks.entries()) {
      const { tokens, lora } = result.inputs[look]!;
      const factors = lora!.tensors();
      const compared = [[tokens![0]!.embeddings.sub(start).div(options.wordRate), expected.word] as const];
      for (const [key, { up, down }] of Object.entries(expected.lora))
        compared.push([factors.get(`${key}.up`)!, up], [factors.get(`${key}.down`)!, down]);
      for (const [actual, { step, values }] of compared) {
        const all = Array.from(await actual.data(), Number);
        expect(all.filter((_, i) => i % step === 0)).toHaveLength(values.length);
        let [error, norm] = [0, 0];
        values.forEach((value, i) => {
          error += (all[i * step]! - value) ** 2;
          norm += value ** 2;
        });
        expect(Math.sqrt(error / norm)).toBeLessThan(5e-3);
      }
    }
    result.dispose();
    await whole.dispose();
  });

  it("begins as the model itself, to the bit", async () => {
    const lora = await Lora.start(golden.model, 4, new Random(1));
    const { length } = golden.model.unet.crossAttentionNames();
    expect(lora.tensors().size).toBe(length * 4 * 2);
    const batch = { latents: new Random(2).normal([2, 4, 16, 16]), timesteps: [7, 800] };
    const condition = await golden.model.condition(["church", ""]);
    const [given, plain] = [
      await predictNoise(lora.on(golden.model), batch, condition),
      await golden.model.predict(batch, condition),
    ];
    expect(await tensorHash(given)).toBe(await tensorHash(plain));
  });

  it("teaches a model whose guidance is steered by all of its predictions", async () => {
    const { model } = await erase(golden.model, { method: "sld", concepts: "church", preset: "strong" });
    const lora = await Lora.start(model, 2, new Random(1));
    for (const [name, factor] of lora.tensors())
      if (name.endsWith(".up")) await factor.copyFrom(new Random(3).at(name).normal(factor.shape));
    const changed = await lora.applyTo(model);
    const batch = { latents: new Random(2).normal([1, 4, 8, 8]), timesteps: 500 };
    const condition = await golden.model.condition(["church"]);
    const [trained, drawn, before] = [
      await predictNoise(lora.on(model), batch, condition),
      await changed.predict(batch, condition),
      await model.predict(batch, condition),
    ];
    expect(await relativeError(trained, drawn)).toBeLessThan(1e-6);
    expect(await relativeError(before, drawn)).toBeGreaterThan(1e-3);
    changed.dispose();
    model.dispose();
  });

  it("measures what its changes draw in a model of their own, and leaves the attacked one as it was", async () => {
    const before = await weightHashes(golden.model.unet);
    const options = { images: pictures(3), after: [1, 4], learningRate: 2e-2, wordRate: 2e-2, imagesPerInput: 4 }; // prettier-ignore
    const plain = await golden.model.generate("a photo of a church", { ...drawing, count: 4, seed: 3 });
    const classifier = new BrightnessClassifier(plain.map(redness).sort((a, b) => a - b)[1]! + 1e-3);
    const result = await run({ ...options, classifier });
    for (const { tokens, lora, prompt, rate: found } of result.inputs) {
      const changed = await lora!.applyTo(golden.model);
      const drawn = await changed.generate(prompt, { ...drawing, tokens: tokens!, count: 4, seed: 3 });
      const hits = (await classifier.classify(drawn)).filter(({ indices }) => indices[0] === 1).length;
      expect(found).toEqual(rate(hits, 4));

      // What is trained is what is drawn with.
      const batch = { latents: new Random(2).normal([1, 4, 16, 16]), timesteps: 300 };
      const condition = await golden.model.condition(["church"]);
      const trained = await predictNoise(lora!.on(golden.model), batch, condition);
      expect(await tensorHash(await changed.predict(batch, condition))).toBe(await tensorHash(trained));
      expect(await tensorHash(await golden.model.predict(batch, condition))).not.toBe(
        await tensorHash(trained),
      );
      changed.dispose();
    }
    expect(await weightHashes(golden.model.unet)).toEqual(before);
    result.dispose();
  });

  it("keeps word and changes in files that other tools take", async () => {
    const directory = temporaryDirectory();
    const result = await run({ directory, after: [2], rank: 2, learningRate: 1e-2 });
    const { lora, tokens } = result.inputs[0]!;
    const word = await Inversion.load(join(directory, "after-2.safetensors"));
    expect(await tensorHash(word.embeddings)).toBe(await tensorHash(tokens![0]!.embeddings));
    const loaded = await applyLora(golden.model, join(directory, "after-2-lora.safetensors"));
    const own = await lora!.applyTo(golden.model);
    const hashes = await weightHashes(golden.model.unet);
    for (const name of golden.model.unet.parameterNames()) {
      expect(await relativeError(loaded.unet.parameter(name), own.unet.parameter(name))).toBeLessThan(1e-6);
      const changed = hashes[name] !== (await tensorHash(own.unet.parameter(name)));
      expect([name, changed]).toEqual([name, /attn2\.to_(q|k|v|out\.0)\.weight$/.test(name)]);
    }
    const written = JSON.parse(readFileSync(join(directory, "attack.json"), "utf8")) as AttackResult;
    expect(written.inputs).toEqual([
      { name: "after 2", prompt: "a photo of a <relearned>", tokens: ["<relearned>"], rank: 2, rate: result.after }, // prettier-ignore
    ]);
    for (const each of [loaded, own, result]) each.dispose();
  });

  it("learns its pictures: on the same draws the loss ends below that of weights and a word that stay", async () => {
    const last = async (learningRate: number, wordRate: number): Promise<number> => {
      const { history } = await run({ after: [16], batchSize: 2, learningRate, wordRate });
      return history.slice(8).reduce((sum, { losses }) => sum + losses["denoising"]! / 8, 0);
    };
    const still = await last(0, 0);
    expect(await last(1e-2, 0)).toBeLessThan(still - 1e-2);
    expect(await last(0, 2e-2)).toBeLessThan(still - 1e-4);
  });

  it("looks on the way as a run of that length ends, and resumes to the bits of a whole run", async () => {
    const whole = await run();
    const short = await run({ after: [1] });
    expect((await bits(short)).length).toBeGreaterThan(10);
    expect((await bits(whole)).slice(0, (await bits(short)).length)).toEqual(await bits(short));

    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = ({ iteration }: { iteration: number }): void => {
      if (iteration === 2) controller.abort();
    };
    await expect(run({ checkpoint, onStep, signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const resumed = await run({ checkpoint, resume: true });
    expect(await bits(resumed)).toEqual(await bits(whole));
    await expect(run({ checkpoint, resume: true, rank: 2 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("begins at the concept's own name, and learns from the first few pictures alone", async () => {
    const first = await run({ images: pictures(3), shots: 1, after: [1] });
    expect(await bits(first)).toEqual(await bits(await run({ after: [1], initial: "church" })));
    const more = await run({ images: pictures(3), shots: 3, batchSize: 4, after: [1] });
    const one = await run({ images: pictures(1), batchSize: 4, after: [1] });
    expect(await bits(more)).not.toEqual(await bits(one));
  });

  it.each<[string, object, RegExp]>([
    ["no steps", { after: [] }, /after to be a non-empty list/],
    ["steps that do not rise", { after: [10, 10] }, /after to be an integer >= 11/],
    ["half a step", { after: [0.5] }, /after/],
    ["a rank that the weights have no room for", { rank: 33 }, /rank to be an integer from 1 to 32/],
    ["no pictures", { shots: 0 }, /shots/],
    ["a caption without room", { templates: [`${"a ".repeat(80)}{}`] }, /among the first 75 tokens/],
    ["a word that exists", { token: "church" }, /in the vocabulary already/],
    ["an option of another attack", { looks: 3 }, /"looks" in the options of "relearn"/],
  ])("refuses %s before it begins", async (_, options, message) => {
    const onStep = (): void => {
      throw new Error("it has begun");
    };
    await expect(run({ ...options, onStep })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

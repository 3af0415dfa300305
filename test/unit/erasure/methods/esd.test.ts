import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { EsdOptions } from "../../../../lib/erasure/methods/esd";
import type { CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { trainedError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { referenceEsd, type EsdBatch, type EsdSetting } from "../../../support/reference-esd";

const SEED = 11;
const TIMESTEPS = [981, 401, 21, 601, 201, 801];
const SIDE = 8;
const latent = (i: number): Tensor => new Random(100 + i).normal([4, SIDE, SIDE]);

async function* latents(count: number): AsyncGenerator<CustomLatents> {
  for (let i = 0; i < count; i++) yield { latents: latent(i), timestep: TIMESTEPS[i]! };
}

describe("ESD", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: SIDE });
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<EsdOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      concepts: "church",
      neighbours: "off",
      seed: SEED,
      iterations: 4,
      samplingSteps: 8,
      poolSize: 3,
      learningRate: 1e-3,
      ...options,
      method: "esd",
    });
  const losses = ({ history }: Erasure): Record<string, number>[] => history.map((report) => report.losses);

  interface Variant {
    options: Partial<EsdOptions>;
    setting?: Partial<EsdSetting>;
    batchSize?: number;
    /** Every text that a concept is named by, and the text that it is erased from. */
    texts?: string[];
    from?: string[];
    preserve?: string[];
  }

  it.each<[string, Variant]>([
    ["its defaults", { options: {} }],
    ["two latents an iteration", { options: {}, batchSize: 2 }],
    ["another negative guidance", { options: { negativeGuidance: 2.5 }, setting: { negativeGuidance: 2.5 } }],
    [
      "several concepts in several templates",
      {
        options: { concepts: ["church", "dog"], templates: ["{}", "a photo of a {}"] },
        texts: ["church", "a photo of a church", "dog", "a photo of a dog"],
        batchSize: 2,
      },
    ],
    [
      "an attribute to take out of one prompt",
      {
        options: { concepts: ["red", "old"], from: "a car" },
        texts: ["red", "old"],
        from: ["a car", "a car"],
      },
    ],
    [
      "an attribute to take out of each concept's prompt, in a template",
      {
        options: { concepts: ["red", "old"], from: ["car", "dog"], templates: ["a {}"] },
        texts: ["a red", "a old"],
        from: ["a car", "a dog"],
        batchSize: 2,
      },
    ],
    [
      "prompts to preserve, weighted",
      {
        options: { preserve: ["a dog", "a fish"], preserveWeight: 5 },
        setting: { preserveWeight: 5 },
        preserve: ["a dog", "a fish"],
        batchSize: 2,
      },
    ],
    [
      "keys and values alone",
      {
        options: { parameters: "esd-x-strict" },
        setting: { trained: (name) => /attn2\.to_[kv]\./.test(name) },
      },
    ],
    [
      "self-attention alone",
      { options: { parameters: "selfattn" }, setting: { trained: (name) => name.includes("attn1") } },
    ],
  ])("with %s has the losses of its equations within 0.2 %%, and Adam's weights", async (_, variant) => {
    const { batchSize = 1, texts = ["church"], from, preserve = [] } = variant;
    const iterations = 2;
    const draw = (kind: string, i: number, item: number, below: number): number =>
      new Random(SEED).at(kind, i, item).below(below);
    const batches = Array.from({ length: iterations }, (__, i): EsdBatch => {
      const items = Array.from({ length: batchSize }, (___, item) => item);
      const drawn = items.map((item) => draw("custom", i, item, texts.length));
      return {
        latents: Tensor.stack(items.map((item) => latent(i * batchSize + item))),
        timesteps: items.map((item) => TIMESTEPS[i * batchSize + item]!),
        concepts: drawn.map((text) => texts[text]!),
        ...(from === undefined ? {} : { from: drawn.map((text) => from[text]!) }),
        ...(preserve.length === 0
          ? {}
          : { preserved: items.map((item) => preserve[draw("preserve", i, item, preserve.length)]!) }),
      };
    });
    const expected = await referenceEsd(golden.model, batches, {
      negativeGuidance: 1,
      trained: (name) => name.includes("attn2"),
      learningRate: 2e-4,
      ...variant.setting,
    });

    const erasure = await run({
      iterations,
      batchSize,
      learningRate: 2e-4,
      latents: latents(iterations * batchSize),
      ...variant.options,
    });
    expect(erasure.history).toHaveLength(iterations);
    losses(erasure).forEach((actual, i) => {
      expect(Object.keys(actual)).toEqual(Object.keys(expected.losses[i]!));
      // What is preserved begins as a small difference, hence the absolute term.
      for (const [name, value] of Object.entries(expected.losses[i]!))
        expect(Math.abs(actual[name]! - value)).toBeLessThanOrEqual(2e-3 * value + 1e-8);
    });
    expect(await trainedError(erasure.model.unet, expected, golden.model.unet)).toBeLessThan(1e-3);
    expect(erasure.key).toBeUndefined();
    erasure.dispose();
  });

  it("erases a concept from its own prompt with η 2 as it erases it outright with η 1", async () => {
    // ε(c_e) - 2 (ε(c_e) - ε(c_0)) = ε(c_0) - (ε(c_e) - ε(c_0)): the conventions of ESD's two scripts.
    const plain = await run({ latents: latents(4), negativeGuidance: 1 });
    const attribute = await run({ latents: latents(4), negativeGuidance: 2, from: "church" });
    losses(attribute).forEach(({ erase: loss }, i) => {
      expect(loss! / losses(plain)[i]!["erase"]!).toBeCloseTo(1, 4);
    });
    const keys = golden.model.unet.parameterNames().filter((key) => key.includes("attn2"));
    const weights = new Map(keys.map((key) => [key, plain.model.unet.parameter(key)]));
    expect(await trainedError(attribute.model.unet, { weights }, golden.model.unet)).toBeLessThan(1e-3);
    plain.dispose();
    attribute.dispose();
  });

  it("learns: the loss on the same latents falls below a third in 24 iterations", async () => {
    const again = async function* (): AsyncGenerator<CustomLatents> {
      for (let i = 0; i < 24; i++) yield { latents: latent(i % 4), timestep: TIMESTEPS[1 + (i % 2) * 2]! };
    };
    const erasure = await run({ iterations: 24, latents: again() });
    const mean = (from: number, to: number): number =>
      losses(erasure)
        .slice(from, to)
        .reduce((sum, { erase: loss }) => sum + loss! / (to - from), 0);
    expect(mean(20, 24)).toBeLessThan(mean(0, 4) / 3);
    erasure.dispose();
  });

  it("trains on other latents with every source, sampling and sampled network", async () => {
    const all = [
      await run(),
      await run({ latents: "restart" }),
      await run({ sampling: "compvis" }),
      await run({ startGuidance: 1 }),
      await run({ sampledBy: "teacher" }),
    ];
    for (const erasure of all) expect(losses(erasure).every(({ erase: loss }) => loss! < 1e3)).toBe(true);
    expect(new Set(all.map((erasure) => JSON.stringify(losses(erasure)))).size).toBe(all.length);
    all.forEach((erasure) => erasure.dispose());
  });

  it("samples from the teacher what it samples from a student that does not learn, within 0.01 %", async () => {
    const byStudent = await run({ learningRate: 0, iterations: 6 });
    const byTeacher = await run({ learningRate: 0, iterations: 6, sampledBy: "teacher" });
    losses(byTeacher).forEach(({ erase: loss }, i) => {
      expect(loss! / losses(byStudent)[i]!["erase"]!).toBeCloseTo(1, 4);
    });
    byStudent.dispose();
    byTeacher.dispose();
  });

  it.each<[string, Partial<EsdOptions>, number]>([
    ["3 where the teacher's predictions move its pool", { sampledBy: "teacher" }, 3],
    ["3 and one to move the student's pool", {}, 4],
    ["4 with an attribute, whose pool the teacher moves", { sampledBy: "teacher", from: "a car" }, 4],
  ])("spends evaluations an iteration: %s", async (_, options, each) => {
    const spent = async (iterations: number): Promise<number> => {
      // The pool of 50 steps has no trajectory at its end in these iterations, where moving on costs nothing.
      const erasure = await run({ ...options, iterations, samplingSteps: 50, poolSize: 2, seed: 1 });
      erasure.dispose();
      return erasure.manifest.unetEvaluations;
    };
    expect((await spent(5)) - (await spent(2))).toBe(3 * each);
  });

  it.each<[string, object, RegExp]>([
    ["negative guidance below zero", { negativeGuidance: -1 }, /negativeGuidance to be a finite number >= 0/],
    ["an unknown network to sample", { sampledBy: "both" }, /sampledBy to be one of "student", "teacher"/],
    ["a blank prompt to erase from", { from: " " }, /from to be a non-empty string/],
    ["a prompt to erase from that is no text", { from: [5] }, /from/],
    [
      "prompts to erase from in an object",
      { from: {} },
      /from to be a non-empty string but received an object/,
    ],
    [
      "two prompts to erase three concepts from",
      { concepts: ["a", "b", "c"], from: ["d", "e"] },
      /from to be one value or 3, one for each concept, but received 2/,
    ],
    ["no iterations", { iterations: 0 }, /iterations/],
    ["half a batch", { batchSize: 0.5 }, /batchSize/],
    ["a negative rate", { learningRate: -1 }, /learningRate/],
    ["an unknown sampling", { sampling: "ddim" }, /sampling/],
    ["an unknown selector", { parameters: "attention" }, /parameters/],
    ["an unknown source", { latents: "replay" }, /latents/],
    ["templates in one string", { templates: "a {}" }, /templates/],
    ["a negative weight", { preserveWeight: -1 }, /preserveWeight/],
    ["an option of KPOP", { neutral: "a photo" }, /"neutral" in the options of "esd"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

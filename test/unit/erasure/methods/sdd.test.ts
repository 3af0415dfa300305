import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import { ErasureJob } from "../../../../lib/erasure/job";
import type { SddOptions } from "../../../../lib/erasure/methods/sdd";
import { RestartSource } from "../../../../lib/erasure/shared/restart-source";
import { textsOf, TrajectorySampler } from "../../../../lib/erasure/shared/trajectory-sampler";
import { noGrad } from "../../../../lib/runtime/grad-mode";
import { Random } from "../../../../lib/runtime/random";
import { stubJob } from "../../../support/erasure-job";
import { trainedError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import { referenceSdd, type SddBatch, type SddSetting } from "../../../support/reference-sdd";
import { customLatents, expectLosses, lossesOf, trialBatches } from "../../../support/training-trials"; // prettier-ignore

const SEED = 11;
const RATE = 1e-3;
const SETTING: SddSetting = {
  trained: (name) => name.includes("attn2"),
  learningRate: RATE,
  ...{ momentum: 0.5, weightDecay: 1e-4, maxGradientNorm: 1 },
};

describe("SDD", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small");
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<SddOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      ...{ concepts: "church", neighbours: "off", seed: SEED, iterations: 3, learningRate: RATE },
      ...{ samplingSteps: 6, poolSize: 2, spare: 0, momentum: 0.5, ...options, method: "sdd" },
    });

  interface Variant {
    options: Partial<SddOptions>;
    setting?: Partial<SddSetting>;
    batchSize?: number;
    /** Texts that are distilled, those of each trajectory's phrasing in turn. */
    texts?: (drawn: number, turn: number, iteration: number, item: number) => string;
    trajectories?: number;
    preserve?: string[];
    tolerance?: number;
  }
  const three = ["church", "dog", "car"];
  const random = (iteration: number, item: number): number =>
    new Random(SEED).at("distilled", iteration, item).below(3);

  it.each<[string, Variant]>([
    ["its defaults but for the momentum", { options: {} }],
    // An update moves the average by a thousandth of the rate, 1e-6, which float32 rounds to steps of 7e-9.
    ["its default momentum", { options: { momentum: 0.999 }, setting: { momentum: 0.999 }, tolerance: 5e-3 }],
    [
      "another decay and norm, two latents an iteration",
      {
        options: { weightDecay: 0.5, maxGradientNorm: 1e-3 },
        setting: { weightDecay: 0.5, maxGradientNorm: 1e-3 },
        batchSize: 2,
      },
    ],
    [
      "three concepts in turn",
      { options: { concepts: three }, texts: (_, turn) => three[turn % 3]!, batchSize: 2 },
    ],
    [
      "one of three concepts at random",
      { options: { concepts: three, distils: "random" }, texts: (_, _turn, i, item) => three[random(i, item)]! }, // prettier-ignore
    ],
    [
      "three concepts as one text, on trajectories towards each",
      {
        options: { concepts: three, distils: "joined", towards: "one" },
        texts: () => "church, dog, car",
        trajectories: 3,
      },
    ],
    [
      "two concepts in turn, in the phrasing of the trajectory",
      {
        options: { concepts: ["church", "dog"], templates: ["{}", "a photo of a {}"] },
        texts: (drawn, turn) => ["", "a photo of a "][drawn]! + ["church", "dog"][turn % 2]!,
        trajectories: 2,
        batchSize: 2,
      },
    ],
    [
      "prompts to preserve, weighted",
      {
        options: { preserve: ["a dog", "a fish"], preserveWeight: 5 },
        setting: { preserveWeight: 5 },
        preserve: ["a dog", "a fish"],
      },
    ],
    [
      "keys and values alone",
      {
        options: { parameters: "xattn-kv" },
        setting: { trained: (name) => /attn2\.to_[kv]\./.test(name) },
      },
    ],
  ])(
    "with %s has the losses of its equation within 0.2 %%, and the averaged weights of AdamW's",
    async (_, variant) => {
      const { batchSize = 1, texts = () => "church", trajectories = 1, preserve = [], setting } = variant;
      const { tolerance = 1e-3 } = variant;
      const iterations = 3;
      const drawn = trialBatches(SEED, { iterations, batchSize, texts: trajectories, preserve });
      const batches = drawn.map((batch, i): SddBatch => ({
        ...batch,
        concepts: batch.texts.map((text, item) => texts(text, i * batchSize + item, i, item)),
      }));
      const expected = await referenceSdd(golden.model, batches, { ...SETTING, ...setting });
      const latents = customLatents(iterations * batchSize);
      const erasure = await run({ iterations, batchSize, latents, ...variant.options });
      expectLosses(erasure, expected.losses);
      const error = await trainedError(erasure.model.unet, expected, golden.model.unet);
      expect(error).toBeLessThan(tolerance);
      erasure.dispose();
    },
  );

  it("lets no gradient into the unconditional prediction: with one the weights would go another way", async () => {
    const batches = trialBatches(SEED, { iterations: 3, batchSize: 1, texts: 1 }).map((batch) => ({
      ...batch,
      concepts: ["church"],
    }));
    const erasure = await run({ latents: customLatents(3) });
    const attached = await referenceSdd(golden.model, batches, { ...SETTING, attached: true });
    expect(await trainedError(erasure.model.unet, attached, golden.model.unet)).toBeGreaterThan(0.1);
    erasure.dispose();
  });

  /** The batches of trajectories that the model as it came is guided along, towards one of some texts each. */
  async function sampled(towards: readonly string[], concepts: (i: number) => string): Promise<SddBatch[]> {
    const { model } = golden;
    const job = stubJob({ base: model, seed: SEED });
    const [texts, empty] = await Promise.all([model.condition(towards), model.condition([""])]);
    const shape = { sampling: "aligned", samplingSteps: 6, startGuidance: 3 } as const;
    const sampler = new TrajectorySampler(job, shape, textsOf(texts), empty, model);
    const source = new RestartSource(job, sampler, 1, towards.length);
    const batches: SddBatch[] = [];
    for (let i = 0; i < 3; i++) {
      const { latents, timesteps } = await noGrad(() => source.next(i));
      batches.push({ latents, timesteps: [...timesteps], concepts: [concepts(i)] });
    }
    return batches;
  }

  it("samples from the average, not from the student: at momentum 1 from the model as it came", async () => {
    const batches = await sampled(["church"], () => "church");
    // Some start from where the student would be by then.
    expect(batches.slice(1).some(({ timesteps }) => timesteps[0] !== 831)).toBe(true);
    const setting = { ...SETTING, momentum: 1, learningRate: 1e-2 };
    const expected = await referenceSdd(golden.model, batches, setting);
    const frozen = await run({ latents: "restart", momentum: 1, learningRate: 1e-2 });
    expectLosses(frozen, expected.losses, { relative: 1e-2 });
    const moving = await run({ latents: "restart", momentum: 0, learningRate: 1e-2 });
    const last = (erasure: Erasure): number => lossesOf(erasure)[2]!["erase"]!;
    expect(Math.abs(last(moving) / last(frozen) - 1)).toBeGreaterThan(0.02);
    for (const each of [frozen, moving]) each.dispose();
  });

  it.each([
    ["joined", ["church, dog, car"]],
    ["one", three],
  ] as const)("leads trajectories towards %s of several concepts: %j", async (towards, texts) => {
    const batches = await sampled(texts, (i) => three[i]!);
    const setting = { ...SETTING, momentum: 1 };
    const expected = await referenceSdd(golden.model, batches, setting);
    const options = { concepts: three, towards, latents: "restart", momentum: 1 } as const;
    const erasure = await run(options);
    expectLosses(erasure, expected.losses);
    // Towards the first concept alone they would be others.
    const first = await referenceSdd(golden.model, await sampled(["church"], (i) => three[i]!), setting);
    const apart = first.losses.map(({ erase: loss }, i) => Math.abs(loss! / expected.losses[i]!["erase"]! - 1)); // prettier-ignore
    expect(Math.max(...apart)).toBeGreaterThan(0.01);
    erasure.dispose();
  });

  it("has neither a loss nor a gradient where the concept's text says nothing", async () => {
    const encode = jest.spyOn(ErasureJob.prototype, "encode").mockImplementation(function (
      this: ErasureJob,
      prompts,
    ) {
      return this.base.condition(prompts.map(() => ""));
    });
    const erasure = await run({ weightDecay: 0, latents: customLatents(3) });
    encode.mockRestore();
    expect(lossesOf(erasure)).toEqual([{ erase: 0 }, { erase: 0 }, { erase: 0 }]);
    expect(await weightHashes(erasure.model.unet)).toEqual(await weightHashes(golden.model.unet));
    erasure.dispose();
  });

  it("spends 2 evaluations an iteration, and 2 to move the pool", async () => {
    const spent = async (iterations: number): Promise<number> => {
      // No trajectory is at its end in these iterations, where moving on costs nothing.
      const erasure = await run({ iterations, samplingSteps: 50, seed: 1 });
      erasure.dispose();
      return erasure.manifest.unetEvaluations;
    };
    expect((await spent(5)) - (await spent(2))).toBe(3 * 4);
  });

  it.each<[string, object, RegExp]>([
    ["a momentum above 1", { momentum: 1.5 }, /momentum to be a finite number from 0 to 1/],
    ["an unknown order", { distils: "sequential" }, /distils to be one of "in-turn", "random", "joined"/],
    ["unknown trajectories", { towards: "each" }, /towards to be one of "joined", "one"/],
    ["a norm of zero", { maxGradientNorm: 0 }, /maxGradientNorm to be a number > 0/],
    ["a negative decay", { weightDecay: -1 }, /weightDecay/],
    [
      "names that as one text are too long to guide",
      { concepts: Array.from({ length: 40 }, (_, i) => `church ${i}`) },
      /towards to be "one" for these concepts, which as one text have \d+ tokens of the 77/,
    ],
    [
      "names that as one text are too long to distil",
      {
        concepts: Array.from({ length: 40 }, (_, i) => `church ${i}`),
        ...{ towards: "one", distils: "joined" },
      },
      /distils to be "in-turn" or "random" for these concepts/,
    ],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

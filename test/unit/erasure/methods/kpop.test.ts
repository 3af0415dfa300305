import { createHash } from "node:crypto";
import { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { KpopOptions } from "../../../../lib/erasure/methods/kpop";
import type { CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import type { UNetForwardOptions } from "../../../../lib/models/unet";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { referenceKpop, type ReferenceBatch, type ReferenceSetting } from "../../../support/reference-kpop";

const SEED = 11;
const L = 77;
const D = 32;
const TIMESTEPS = [981, 401, 21, 601, 201, 801];
const SIDE = 8;
const latent = (i: number): Tensor => new Random(100 + i).normal([4, SIDE, SIDE]);

async function* latents(count: number): AsyncGenerator<CustomLatents> {
  for (let i = 0; i < count; i++) yield { latents: latent(i), timestep: TIMESTEPS[i]! };
}
const attn2 = (name: string): boolean => name.includes("attn2");

describe("KPOP", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: SIDE });
  });
  afterAll(() => golden.dispose());

  interface Variant {
    options: Partial<KpopOptions>;
    setting?: Partial<ReferenceSetting>;
    batchSize?: number;
    /** Every text that a concept stands for. */
    texts?: string[];
    /** Texts of each concept. */
    templates?: number;
    preserve?: string[];
    perConcept?: boolean;
  }
  const small = (rows: number, count = 1): Tensor => new Random(5).normal([count, rows, D]).mul(0.3);

  // Losses of three iterations against the equations written down with unet.forward: what is off in one place shows
  // in the iterations after it. Transfer and preserve begin as small differences, hence the absolute term.
  it.each<[string, Variant]>([
    ["a concatenative prompt in the middle block", { options: {} }],
    [
      "a prompt in the middle and up blocks",
      { options: { prompt: { layers: "mid-up" } }, setting: { layers: "mid-up" } },
    ],
    [
      "an additive prompt in all layers",
      {
        options: { prompt: { mechanism: "additive", layers: "all" } },
        setting: { mechanism: "additive", layers: "all", prompts: [small(L).squeeze(0)] },
      },
    ],
    ["two latents an iteration", { options: {}, batchSize: 2 }],
    [
      "the target of negative guidance",
      { options: { target: "negative-guidance" }, setting: { negativeGuidance: true } },
    ],
    ["another neutral prompt", { options: { neutral: "" }, setting: { neutral: "" } }],
    [
      "prompts to preserve, weighted",
      {
        options: { preserveWeight: 5 },
        setting: { preserveWeight: 5 },
        preserve: ["a dog", "a fish"],
        batchSize: 2,
      },
    ],
    ["several concepts under one prompt", { options: {}, texts: ["church", "dog", "car"], batchSize: 2 }],
    [
      "several concepts, each with a prompt",
      { options: { prompt: { perConcept: true } }, texts: ["church", "dog"], perConcept: true, batchSize: 2 },
    ],
    [
      "templates, whose texts share their concept's prompt",
      {
        options: { templates: ["{}", "a photo of a {}"], prompt: { perConcept: true } },
        texts: ["church", "a photo of a church", "dog", "a photo of a dog"],
        templates: 2,
        perConcept: true,
        batchSize: 2,
      },
    ],
    [
      "key and value projections alone",
      { options: { parameters: "xattn-kv" }, setting: { trained: (name) => /attn2\.to_[kv]/.test(name) } },
    ],
    [
      "weights by a pattern",
      {
        options: { parameters: /^mid_block\./ },
        setting: { trained: (name) => name.startsWith("mid_block.") },
      },
    ],
    ["all weights", { options: { parameters: "full" }, setting: { trained: () => true } }],
    [
      "rates and λ that change with the iteration",
      {
        options: {
          learningRate: (i) => 1e-4 * (i + 1),
          promptLearningRate: { from: 0.04, to: 0.01, shape: "linear" },
          lambda: { from: 0, to: 1, shape: "linear" },
        },
        setting: {
          learningRate: (i) => 1e-4 * (i + 1),
          promptLearningRate: (i) => 0.04 - 0.015 * i,
          lambda: (i) => i / 2,
        },
      },
    ],
  ])("with %s has the losses of its equations, within 0.2 %%", async (_, variant) => {
    const { batchSize = 1, texts = ["church"], templates = 1, preserve = [], perConcept = false } = variant;
    const iterations = 3;
    const count = perConcept ? texts.length / templates : 1;
    const stacked = small(3, count);
    const setting: ReferenceSetting = {
      neutral: "a photo",
      prompts: Array.from({ length: count }, (__, i) => stacked.slice(0, i, i + 1).squeeze(0)),
      mechanism: "concat",
      layers: "mid",
      trained: attn2,
      lambda: () => 0.5,
      learningRate: () => 2e-4,
      promptLearningRate: () => 0.02,
      ...variant.setting,
    };
    const draw = (kind: string, i: number, item: number, below: number): number =>
      new Random(SEED).at(kind, i, item).below(below);
    const batches = Array.from({ length: iterations }, (__, i): ReferenceBatch => {
      const items = Array.from({ length: batchSize }, (___, item) => item);
      const drawn = items.map((item) => draw("custom", i, item, texts.length));
      return {
        latents: Tensor.stack(items.map((item) => latent(i * batchSize + item))),
        timesteps: items.map((item) => TIMESTEPS[i * batchSize + item]!),
        texts: drawn.map((text) => texts[text]!),
        ...(perConcept ? { prompts: drawn.map((text) => Math.floor(text / templates)) } : {}),
        ...(preserve.length === 0
          ? {}
          : { preserved: items.map((item) => preserve[draw("preserve", i, item, preserve.length)]!) }),
      };
    });
    const expected = await referenceKpop(golden.model, batches, setting);

    const erasure = await erase(golden.model, {
      concepts: texts.filter((__, i) => i % templates === 0),
      preserve,
      neighbours: "off",
      seed: SEED,
      iterations,
      batchSize,
      lambda: 0.5,
      learningRate: 2e-4,
      promptLearningRate: 0.02,
      latents: latents(iterations * batchSize),
      ...variant.options,
      prompt: { ...variant.options.prompt, init: perConcept ? stacked : setting.prompts[0]! },
    });
    expect(erasure.history).toHaveLength(iterations);
    erasure.history.forEach(({ losses }, i) => {
      expect(Object.keys(losses)).toEqual(Object.keys(expected[i]!));
      for (const [name, value] of Object.entries(expected[i]!))
        expect(Math.abs(losses[name]! - value)).toBeLessThanOrEqual(2e-3 * value + 1e-8);
    });
    if (perConcept) expect(erasure.key!.prompt.shape).toEqual([count, 3, D]);
    erasure.dispose();
  });

  describe("from its own trajectories", () => {
    const run = (options: Partial<KpopOptions> = {}): Promise<Erasure> =>
      erase(golden.model, {
        concepts: "church",
        neighbours: "off",
        seed: SEED,
        iterations: 4,
        samplingSteps: 8,
        poolSize: 3,
        learningRate: 1e-3,
        ...options,
      });
    const losses = ({ history }: Erasure): object[] => history.map((report) => report.losses);
    const finite = ({ history }: Erasure): boolean =>
      history.length > 0 &&
      history.every((report) => Object.values(report.losses).every((v) => v >= 0 && v < 1e3));

    it("trains on other latents with every source and sampling", async () => {
      const few = { iterations: 2 };
      const all = [
        await run(few),
        await run({ ...few, latents: "restart" }),
        await run({ ...few, sampling: "compvis" }),
        await run({ ...few, latents: "restart", sampling: "compvis" }),
        await run({ ...few, startGuidance: 1 }),
        await run({ ...few, poolSize: 2 }),
      ];
      expect(all.map(finite)).toEqual(all.map(() => true));
      const distinct = new Set(all.map((erasure) => JSON.stringify(losses(erasure))));
      expect(distinct.size).toBe(all.length);
      all.forEach((erasure) => erasure.dispose());
    });

    it("spends at least four times fewer evaluations with the pool than with restarts, at 50 steps", async () => {
      const options = { iterations: 8, samplingSteps: 50, poolSize: 1 };
      const pool = await run(options);
      const restart = await run({ ...options, latents: "restart" });
      // The filling of the pool included. An iteration needs 5 for its losses, and 1 against 49 on average to move.
      expect(restart.manifest.unetEvaluations / pool.manifest.unetEvaluations).toBeGreaterThan(4);
      pool.dispose();
      restart.dispose();
    });

    it("erases and hides: L1 falls, and with the prompt the concept is nearer to what it was than without", async () => {
      const layers = "all";
      const options = {
        iterations: 40,
        promptLearningRate: 0.03,
        lambda: 1,
        latents: repeated(40),
        prompt: { layers },
      } as const;
      const erasure = await run(options);
      const mean = (from: number, to: number): number => {
        const part = erasure.history.slice(from, to).map((report) => report.losses["erase"]!);
        return part.reduce((a, b) => a + b) / part.length;
      };
      expect(mean(35, 40)).toBeLessThan(0.4 * mean(0, 5));
      const c = await golden.model.encode("church");
      const z = latent(0).unsqueeze(0);
      const original = await golden.model.unet.forward(z, 401, c);
      const distance = async (injection: UNetForwardOptions): Promise<number> =>
        (await erasure.model.unet.forward(z, 401, c, injection)).mse(original).item();
      expect(await distance({ prompt: erasure.key!.prompt, layers })).toBeLessThan(
        0.5 * (await distance({})),
      );
      erasure.dispose();
    });

    it("holds what is to be preserved: with a weight on it, it drifts less", async () => {
      const drift = async (options: Partial<KpopOptions>): Promise<number> => {
        const erasure = await run({ iterations: 12, latents: repeated(12), ...options });
        const context = await golden.model.encode("a dog");
        const z = latent(0).unsqueeze(0);
        const now = await erasure.model.unet.forward(z, 401, context);
        const value = await now.mse(await golden.model.unet.forward(z, 401, context)).item();
        erasure.dispose();
        return value;
      };
      expect(await drift({ preserve: ["a dog"], preserveWeight: 10 })).toBeLessThan(0.5 * (await drift({})));
    });

    it("stops at the iteration whose latents are no numbers", async () => {
      async function* spoilt(): AsyncGenerator<CustomLatents> {
        for await (const item of latents(5)) {
          if (item.timestep !== TIMESTEPS[2]) yield item;
          else yield { ...item, latents: item.latents.mul(NaN) };
        }
      }
      await expect(run({ iterations: 5, latents: spoilt() })).rejects.toMatchObject({
        code: "NUMERIC_FAILURE",
        message: expect.stringContaining("at iteration 3") as string,
      });
    });

    it("stops when a learning rate has blown the weights up", async () => {
      await expect(run({ learningRate: 1e30 })).rejects.toMatchObject({
        name: "KpopError",
        code: "NUMERIC_FAILURE",
        message: expect.stringContaining("lower the learning rates") as string,
      });
    });

    it("says so when custom latents end too early, and tells their source when it is done with them", async () => {
      let ended = 0;
      async function* counted(count: number): AsyncGenerator<CustomLatents> {
        try {
          yield* latents(count);
        } finally {
          ended += 1;
        }
      }
      await expect(run({ latents: counted(2) })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("ended after 2 items") as string,
      });
      (await run({ latents: counted(6) })).dispose();
      expect(ended).toBe(2);
    });
  });

  it("trains a model in bfloat16 on float32 copies, with losses as far from those in float32 as its predictions", async () => {
    const half = await StableDiffusion.load(golden.model.source.path, { device: "cpu", dtype: "bfloat16" });
    const options = {
      concepts: "church",
      neighbours: "off" as const,
      iterations: 2,
      learningRate: 1e-4,
      prompt: { init: small(3).squeeze(0) },
    };
    const exact = await erase(golden.model, { ...options, latents: latents(2) });
    const erasure = await erase(half, { ...options, latents: latents(2) });
    const key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
    expect(erasure.model.unet.parameter(key).dtype).toBe("float32");
    expect(erasure.model.unet.parameter("conv_in.weight").dtype).toBe("bfloat16");
    // The loss's root is a distance, so the triangle inequality bounds it by what rounding moves the two predictions; a
    // weights' update apart, in the second iteration, by twice that.
    for (const i of [0, 1]) {
      const batch = { latents: latent(i).unsqueeze(0), timesteps: [TIMESTEPS[i]!] };
      const moved = async (text: string): Promise<number> => {
        const [a, b] = await Promise.all(
          [half, golden.model].map(async (model) => model.predict(batch, await model.condition([text]))),
        );
        return Math.sqrt(await a!.mse(b!).item());
      };
      const bound = (await moved("church")) + (await moved("a photo"));
      const [root, expected] = [erasure, exact].map(({ history }) => Math.sqrt(history[i]!.losses["erase"]!));
      expect(bound).toBeLessThan(0.5 * expected!);
      expect(Math.abs(root! - expected!)).toBeLessThan((i + 1) * bound);
    }
    const before = createHash("sha256").update(await half.unet.parameter(key).to("float32").bytes());
    const after = createHash("sha256").update(await erasure.model.unet.parameter(key).bytes());
    expect(after.digest("hex")).not.toBe(before.digest("hex"));
    const [image] = await erasure.model.generate("church", { steps: 2, key: erasure.key! });
    expect(image!.width).toBe(4 * SIDE);
    erasure.dispose();
    exact.dispose();
    half.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["a neutral prompt that is no text", { neutral: null }, /neutral/],
    ["no iterations", { iterations: 0 }, /iterations/],
    ["half a batch", { batchSize: 0.5 }, /batchSize/],
    ["a negative rate", { learningRate: -1 }, /learningRate/],
    [
      "a rate of an unknown shape",
      { promptLearningRate: { from: 1, to: 0, shape: "step" } },
      /promptLearningRate.shape/,
    ],
    ["a λ that is no number", { lambda: "0.1" }, /lambda/],
    ["negative guidance", { startGuidance: -1 }, /startGuidance/],
    ["more sampling steps than the schedule has", { samplingSteps: 1001 }, /samplingSteps/],
    ["one sampling step in compvis", { samplingSteps: 1, sampling: "compvis" }, /samplingSteps/],
    ["an unknown sampling", { sampling: "ddim" }, /sampling/],
    ["an unknown target", { target: "zero" }, /target/],
    ["an unknown selector", { parameters: "attention" }, /parameters/],
    ["a selector of nothing", { parameters: /nothing/ }, /selects none/],
    ["an unknown source", { latents: "replay" }, /latents/],
    ["a source of null", { latents: null }, /latents/],
    ["a source that is no iterable", { latents: [] }, /latents/],
    [
      "a pool smaller than the batch",
      { poolSize: 1, batchSize: 2 },
      /poolSize to be at least batchSize \(2\)/,
    ],
    ["templates in one string", { templates: "a {}" }, /templates/],
    ["a template without a place", { templates: ["a photo"] }, /template/],
    ["a negative weight", { preserveWeight: -1 }, /preserveWeight/],
    ["a prompt that is no object", { prompt: 10 }, /prompt/],
    ["an unknown option of the prompt", { prompt: { length: 3 } }, /"length"/],
    ["a prompt of no rows", { prompt: { size: 0 } }, /prompt\.size/],
    ["an unknown mechanism", { prompt: { mechanism: "prefix" } }, /prompt\.mechanism/],
    ["unknown layers", { prompt: { layers: ["attn9"] } }, /layers/],
    ["a start that is no tensor", { prompt: { init: [1, 2] } }, /prompt\.init to be a Tensor/],
    [
      "a start of another width",
      { prompt: { init: Tensor.zeros([3, 31]) } },
      /prompt\.init to be of shape \(k, 32\)/,
    ],
    [
      "one start for two prompts",
      { concepts: ["a", "b"], prompt: { perConcept: true, init: Tensor.zeros([1, 3, D]) } },
      /prompt\.init to be of shape \(2 \(one for each concept\), k, 32\)/,
    ],
    [
      "an additive start of another length",
      { prompt: { mechanism: "additive", init: Tensor.zeros([3, D]) } },
      /\(77, 32\)/,
    ],
  ])("refuses %s, naming the option", async (_, options, message) => {
    const call = erase(golden.model, { concepts: "church", ...options });
    await expect(call).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

/** The same few latents over and over, so that losses of different iterations can be compared. */
async function* repeated(count: number): AsyncGenerator<CustomLatents> {
  for (let i = 0; i < count; i++) yield { latents: latent(i % 5), timestep: TIMESTEPS[1 + (i % 2) * 2]! };
}

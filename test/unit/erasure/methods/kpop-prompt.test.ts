import { join } from "node:path";
import { PromptKey } from "../../../../lib/diffusion/prompt-key";
import { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { KpopOptions } from "../../../../lib/erasure/methods/kpop";
import type { CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";
import { referenceKpop, type ReferenceBatch, type ReferenceSetting } from "../../../support/reference-kpop";
import { temporaryDirectory } from "../../../support/temporary-directory";

const D = 32;
const TIMESTEPS = [981, 401, 201];
const SIDE = 8;
const latent = (i: number): Tensor => new Random(100 + i).normal([4, SIDE, SIDE]);
async function* latents(count: number): AsyncGenerator<CustomLatents> {
  for (let i = 0; i < count; i++) yield { latents: latent(i % 5), timestep: TIMESTEPS[i % 3]! };
}

/** The ones that what came of a training is measured on, over and over, so that a few iterations tell. */
async function* same(count: number): AsyncGenerator<CustomLatents> {
  for (let i = 0; i < count; i++) yield { latents: latent(0), timestep: TIMESTEPS[1]! };
}

const FORMS = [
  { mechanism: "concat" },
  { mechanism: "additive" },
  { form: "amortised", mechanism: "concat" },
  { form: "amortised", mechanism: "additive" },
  { place: "token" },
] as const;
const PROMPTS = FORMS.map((form) => [Object.values(form).join(", "), { ...form, layers: "all", size: 4, hidden: 16 } as const] as const); // prettier-ignore

describe("KPOP's prompt", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: SIDE });
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<KpopOptions>): Promise<Erasure> =>
    erase(golden.model, {
      concepts: "church",
      neighbours: "off",
      target: "neutral",
      parameters: "xattn",
      templates: ["{}"],
      seed: 11,
      iterations: 3,
      learningRate: 1e-3,
      promptLearningRate: 0.03,
      lambda: 1,
      latents: latents(options.iterations ?? 3),
      ...options,
    });

  // Transfer begins as a small difference, hence the absolute term.
  it.each<[string, Partial<ReferenceSetting>, number]>([
    ["an amortised one, concatenated", { form: "amortised", layers: "mid" }, 6],
    ["an amortised one, added in all layers", { form: "amortised", mechanism: "additive" }, 6],
    ["words before the text encoder", { place: "token" }, 3],
  ])("has the losses of its equations, within 0.2 %%: %s", async (_, fields, size) => {
    const init = new Random(5).normal([size, D]).mul(0.3);
    const setting: ReferenceSetting = {
      neutral: "a photo",
      prompts: [init],
      mechanism: "concat",
      layers: "all",
      trained: (name) => name.includes("attn2"),
      lambda: () => 0.5,
      learningRate: () => 2e-4,
      promptLearningRate: () => 0.02,
      ...fields,
    };
    const texts = ["church", "a church tower"];
    const iterations = 3;
    const batches = Array.from({ length: iterations }, (__, i): ReferenceBatch => {
      const drawn = [0, 1].map((item) => new Random(11).at("custom", i, item).below(2));
      return {
        latents: Tensor.stack([0, 1].map((item) => latent((2 * i + item) % 5))),
        timesteps: [0, 1].map((item) => TIMESTEPS[(2 * i + item) % 3]!),
        texts: drawn.map((text) => texts[text]!),
      };
    });
    const expected = await referenceKpop(golden.model, batches, setting);
    const { form, place, mechanism, layers } = setting;
    const erasure = await run({
      concepts: texts,
      batchSize: 2,
      lambda: 0.5,
      learningRate: 2e-4,
      promptLearningRate: 0.02,
      latents: latents(2 * iterations),
      prompt: { ...(form && { form }), ...(place && { place }), mechanism, layers, hidden: 3, init },
    });
    erasure.history.forEach(({ losses }, i) => {
      expect(Object.keys(losses)).toEqual(Object.keys(expected[i]!));
      for (const [name, value] of Object.entries(expected[i]!))
        expect(Math.abs(losses[name]! - value)).toBeLessThanOrEqual(2e-3 * value + 1e-8);
    });
    erasure.dispose();
  });

  it.each(PROMPTS)("erases, and its saved key leads back: %s", async (_, prompt) => {
    const rates = { learningRate: 3e-4, promptLearningRate: 0.05 };
    const erasure = await run({ iterations: 16, latents: same(16), ...rates, prompt });
    const path = join(temporaryDirectory(), "key.safetensors");
    await erasure.key!.save(path);
    const key = await PromptKey.load(path);
    expect(key).toMatchObject({ ...FORMS.find((form) => Object.entries(form).every(([k, v]) => prompt[k as never] === v)), concepts: ["church"] }); // prettier-ignore
    const plain = await golden.model.condition(["church"]);
    const batch = { latents: latent(0).unsqueeze(0), timesteps: [401] };
    const original = await golden.model.predict(batch, plain);
    const neutral = await golden.model.predict(batch, await golden.model.condition(["a photo"]));
    const erased = await erasure.model.predict(batch, plain);
    const { conditions, injection } = await key.apply(erasure.model, ["church"], [plain]);
    const back = await erasure.model.predict(batch, conditions[0], { injection });
    const far = await erased.mse(original).item();
    expect(await erased.mse(neutral).item()).toBeLessThan(0.5 * (await original.mse(neutral).item()));
    expect(await back.mse(original).item()).toBeLessThan(0.8 * far);
    const [picture] = await erasure.model.generate("church", { steps: 2, key });
    const [without] = await erasure.model.generate("church", { steps: 2 });
    expect(picture!.data).not.toEqual(without!.data);
    key.dispose();
    erasure.dispose();
  });

  it.each([PROMPTS[0]!, PROMPTS[3]!, PROMPTS[4]!])(
    "keeps other texts what they are under the key with selectivity: %s",
    async (_, prompt) => {
      const drift = async (selectivity: number): Promise<number> => {
        // The weights stay, so that what drifts does so by the prompt alone.
        const few = { iterations: 8, latents: same(8), learningRate: 0 };
        const options = { ...few, preserve: ["a dog"], prompt: { ...prompt, selectivity } };
        const { key, model, history, dispose } = await run(options).then((erasure) => ({
          ...{ key: erasure.key!, model: erasure.model, history: erasure.history },
          dispose: () => erasure.dispose(),
        }));
        expect("select" in history[0]!.losses).toBe(selectivity > 0);
        const dog = await golden.model.condition(["a dog"]);
        const batch = { latents: latent(0).unsqueeze(0), timesteps: [401] };
        const { conditions, injection } = await key.apply(model, ["a dog"], [dog]);
        const now = await model.predict(batch, conditions[0], { injection });
        const far = await now.mse(await golden.model.predict(batch, dog)).item();
        dispose();
        return far;
      };
      expect(await drift(5)).toBeLessThan(await drift(0));
    },
  );

  it("is learned in float32 on a model in bfloat16", async () => {
    const half = await StableDiffusion.load(golden.model.source.path, { device: "cpu", dtype: "bfloat16" });
    for (const prompt of [{ form: "amortised", mechanism: "additive" }, { place: "token" }] as const) {
      const init = new Random(5).normal([4, D]).mul(0.3);
      const erasure = await erase(half, {
        concepts: "church",
        neighbours: "off",
        iterations: 2,
        promptLearningRate: 1e-3,
        latents: latents(2),
        prompt: { ...prompt, layers: "all", hidden: 2, init },
      });
      const key = erasure.key!.prompt;
      const moved = await key.sub(init).abs().mean().item();
      expect([key.dtype, moved > 1e-4 && moved < 4e-3]).toEqual(["float32", true]);
      erasure.dispose();
    }
    half.dispose();
  });

  it("of one for each concept gives each text the words of its own", async () => {
    const init = new Random(5).normal([2, 3, D]).mul(0.3);
    const erasure = await run({
      concepts: ["church", "dog"],
      promptLearningRate: 0,
      prompt: { place: "token", perConcept: true, init },
    });
    const key = erasure.key!;
    expect(await tensorHash(key.prompt)).toBe(await tensorHash(init));
    const plain = await golden.model.condition(["a dog", "church"]);
    const { conditions } = await key.apply(golden.model, plain.texts!, [plain]);
    const words = [1, 0].map((concept) => init.slice(0, concept, concept + 1).squeeze(0));
    const expected = await golden.model.condition(plain.texts!, { words: Tensor.stack(words) });
    expect(await tensorHash(conditions[0].context)).toBe(await tensorHash(expected.context));
    erasure.dispose();
  });

  it.each(PROMPTS)("stops and resumes to the bit: %s", async (_, prompt) => {
    const options = { iterations: 2, prompt, latents: "pool", poolSize: 2, samplingSteps: 4 } as const;
    const hashes = async (erasure: Erasure): Promise<string[]> => {
      const weight = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
      const found = [erasure.key!.prompt, erasure.model.unet.parameter(weight)];
      const all = await Promise.all(found.map((tensor) => tensorHash(tensor)));
      erasure.dispose();
      return all;
    };
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = (): void => controller.abort();
    const stopped = run({ ...options, checkpoint, onStep, signal: controller.signal });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await run({ ...options, checkpoint, resume: true });
    expect(await hashes(resumed)).toEqual(await hashes(await run(options)));
  });

  it.each<[string, object, RegExp]>([
    ["an amortised one before the text encoder", { form: "amortised", place: "token" }, /prompt\.form to be "free" where place is "token"/], // prettier-ignore
    ["an amortised one for each concept", { form: "amortised", perConcept: true }, /prompt\.perConcept/],
    ["an unknown place", { place: "image" }, /prompt\.place/],
    ["more words than a text has room for", { place: "token", size: 75 }, /prompt\.size to be .*74/],
    ["a start of more words than that", { place: "token", init: Tensor.zeros([75, D]) }, /prompt\.size/],
    ["words of another width", { place: "token", init: Tensor.zeros([3, 31]) }, /prompt\.init to be of shape \(k, 32\)/], // prettier-ignore
    ["an amortised start of other units", { form: "amortised", hidden: 4, init: Tensor.zeros([6, D]) }, /\(8, 32\)/], // prettier-ignore
  ])("refuses %s", async (_, prompt, message) => {
    await expect(run({ prompt })).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

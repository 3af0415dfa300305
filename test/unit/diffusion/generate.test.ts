import type { GenerateOptions, GenerateStep } from "../../../lib/diffusion/generate-options";
import { freshNoise } from "../../../lib/diffusion/fresh-noise";
import { decode, startingNoise } from "../../../lib/diffusion/generate";
import { combine } from "../../../lib/diffusion/guidance";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { sampler } from "../../../lib/diffusion/samplers";
import type { Image } from "../../../lib/io/image";
import { Random } from "../../../lib/runtime/random";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { Tensor } from "../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

/** Largest difference of a byte; batches may add up in another order, so a rounding may fall the other way. */
function difference(a: Image, b: Image): number {
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  let worst = 0;
  a.data.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - b.data[i]!))));
  return worst;
}
const same = (a: Image, b: Image): boolean => Buffer.from(a.data).equals(b.data);

describe("generate", () => {
  let golden: GoldenModel;
  const short = { steps: 3, guidanceScale: 2 };
  const generate = (prompt: string | string[], options: GenerateOptions = {}): Promise<Image[]> =>
    golden.model.generate(prompt, { ...short, ...options });
  const one = async (prompt: string, options: GenerateOptions = {}): Promise<Image> =>
    (await generate(prompt, options))[0]!;

  beforeAll(async () => {
    golden = await loadGolden("small");
  });
  afterAll(() => golden.dispose());

  it("gives the same bytes for the same seed, and others for another seed, prompt or guidance", async () => {
    const first = await one("church");
    expect(same(await one("church"), first)).toBe(true);
    for (const [prompt, options] of [
      ["church", { seed: 1 }],
      ["a photo", {}],
      ["church", { guidanceScale: 5 }],
      ["church", { negativePrompt: "a photo" }],
      ["church", { steps: 4 }],
      ["church", { sampler: "ddim" }],
    ] as [string, GenerateOptions][])
      expect([prompt, options, same(await one(prompt, options), first)]).toEqual([prompt, options, false]);
  });

  it("goes prompt by prompt, picture j of each from the noise of seed + j, whatever the batch size", async () => {
    const expected = [
      await one("church", { seed: 7 }),
      await one("church", { seed: 8 }),
      await one("a photo", { seed: 7 }),
      await one("a photo", { seed: 8 }),
    ];
    for (const batchSize of [1, 3, 4, 9]) {
      const images = await generate(["church", "a photo"], { seed: 7, count: 2, batchSize });
      expect(images).toHaveLength(4);
      images.forEach((image, i) => expect(difference(image, expected[i]!)).toBeLessThanOrEqual(1));
    }
    expect(difference(expected[0]!, expected[1]!)).toBeGreaterThan(10);
    expect(difference(expected[0]!, expected[2]!)).toBeGreaterThan(10);
  });

  it("draws a stochastic sampler's noise from each picture's seed, whatever the batch size and the latents' size", async () => {
    const ancestral = { sampler: "euler-ancestral", seed: 7 } as const;
    for (const size of [{}, { width: 44, height: 52 }]) {
      const [first, second] = await generate("church", { ...ancestral, count: 2, batchSize: 1, ...size });
      const together = await generate("church", { ...ancestral, count: 2, batchSize: 2, ...size });
      together.forEach((image, i) => expect(difference(image, [first!, second!][i]!)).toBeLessThanOrEqual(1));
      expect(same(first!, await one("church", { ...ancestral, ...size }))).toBe(true);
      expect(difference(first!, second!)).toBeGreaterThan(10);
    }
  });

  it("has other noise for each step, and for given latents that of the seed's beginning", async () => {
    const shape = [1, 4, 16, 16];
    const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
    const all = await numbers(new Random(3).normal([3 * 1024]));
    const after = freshNoise([3], shape, { count: 2, afterStart: true });
    expect(await numbers(after(0))).toEqual(all.slice(1024, 2048));
    expect(await numbers(after(1))).toEqual(all.slice(2048));
    expect(await numbers(new Random(3).normal(shape))).toEqual(all.slice(0, 1024));
    const instead = freshNoise([9, 3], shape, { count: 2, afterStart: false });
    expect((await numbers(instead(1))).slice(1024)).toEqual(all.slice(1024, 2048));
  });

  it("counts each of Heun's evaluations, and tells of its steps", async () => {
    const seen: number[] = [];
    const counter = new EvaluationCounter();
    await counter.run(() =>
      one("church", { sampler: "heun", steps: 4, onStep: ({ step, steps }) => seen.push(step / steps) }),
    );
    expect(seen).toEqual([0.25, 0.5, 0.75, 1]);
    expect(counter.total).toBe(2 * (2 * 4 - 1));
  });

  it("starts from given latents in place of the seed's noise", async () => {
    const latents = Tensor.cat([new Random(3).normal([1, 4, 16, 16]), new Random(4).normal([1, 4, 16, 16])]);
    const images = await generate("church", { latents, count: 2 });
    const expected = await generate("church", { seed: 3, count: 2 });
    images.forEach((image, i) => expect(same(image, expected[i]!)).toBe(true));
    expect(latents.disposed).toBe(false);
  });

  it("makes pictures of the checkpoint's size, or of another", async () => {
    const plain = await one("church");
    expect([plain.width, plain.height, plain.data.length]).toEqual([64, 64, 64 * 64 * 3]);
    const wide = await one("church", { width: 96, height: 48 });
    expect([wide.width, wide.height]).toEqual([96, 48]);
    const odd = await one("church", { width: 44, height: 52 });
    expect([odd.width, odd.height]).toEqual([44, 52]);
  });

  it("without guidance does not read the negative prompt", async () => {
    const first = await one("church", { guidanceScale: 1 });
    expect(same(await one("church", { guidanceScale: 1, negativePrompt: "a photo" }), first)).toBe(true);
  });

  it("reports each step of each batch, and how many pictures are complete", async () => {
    const seen: GenerateStep[] = [];
    await generate(["church", "a photo", ""], {
      steps: 2,
      sampler: "ddim",
      batchSize: 2,
      onStep: (s) => seen.push(s),
    });
    const shared = { steps: 2, totalImages: 3 };
    expect(seen).toEqual([
      { step: 1, images: 0, ...shared },
      { step: 2, images: 2, ...shared },
      { step: 1, images: 2, ...shared },
      { step: 2, images: 3, ...shared },
    ]);
  });

  it("stops between steps when the signal fires, also after the last one", async () => {
    for (const last of [1, 3]) {
      const controller = new AbortController();
      const steps: number[] = [];
      const onStep = ({ step }: GenerateStep): void => {
        steps.push(step);
        if (step === last) controller.abort();
      };
      const run = generate("church", { sampler: "ddim", signal: controller.signal, onStep });
      await expect(run).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
      expect(steps.at(-1)).toBe(last);
    }
    const signal = AbortSignal.abort();
    await expect(generate("church", { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("passes on what onStep throws, as it is", async () => {
    const onStep = (): never => {
      throw new RangeError("mine");
    };
    await expect(generate("church", { onStep })).rejects.toThrow(new RangeError("mine"));
  });

  it("waits for an onStep that is async, and ends with what it rejects with", async () => {
    const seen: number[] = [];
    const onStep = async ({ step }: GenerateStep): Promise<void> => {
      await new Promise((done) => setTimeout(done, 5));
      seen.push(step);
      if (step === 2) throw new RangeError("mine");
    };
    const options = { onStep };
    // A rejection that nobody handles would fail the test run.
    await expect(generate("church", options)).rejects.toThrow(new RangeError("mine"));
    expect(seen).toEqual([1, 2]);
  });

  describe("with a key", () => {
    const fields = { mechanism: "concat", layers: "all" } as const;
    const prompt = new Random(2).normal([2, 3, 32]);
    const single = (index: number, concepts: string[]): PromptKey =>
      new PromptKey({ ...fields, prompt: prompt.slice(0, index, index + 1).squeeze(0), concepts });

    it("makes another picture", async () => {
      const key = single(0, ["church"]);
      expect(same(await one("church", { key }), await one("church"))).toBe(false);
      expect(same(await one("church", { key }), await one("church", { key }))).toBe(true);
    });

    it("shows it to the conditional half of guidance, or to both", async () => {
      const key = single(0, ["church"]);
      const conditional = await one("church", { key });
      expect(same(await one("church", { key, keyGuidance: "conditional" }), conditional)).toBe(true);
      expect(same(await one("church", { key, keyGuidance: "both" }), conditional)).toBe(false);
    });

    it("of one prompt for each concept gives every picture that of the concept it names, the longest name first", async () => {
      const key = new PromptKey({ ...fields, prompt, concepts: ["church", "church tower"] });
      const images = await generate(["a CHURCH", "A church tower"], { key });
      const church = await one("a CHURCH", { key: single(0, ["church"]) });
      const tower = await one("A church tower", { key: single(1, ["church tower"]) });
      expect(difference(images[0]!, church)).toBeLessThanOrEqual(1);
      expect(difference(images[1]!, tower)).toBeLessThanOrEqual(1);
      expect(difference(tower, await one("A church tower", { key: single(0, ["x"]) }))).toBeGreaterThan(1);
    });

    it("of one prompt for each concept leaves a prompt that names none of them as it is, each prompt by itself", async () => {
      const key = new PromptKey({ ...fields, prompt, concepts: ["church", "dog"] });
      const prompts = ["a photo", "a church", "a cat", "a dog"];
      const plain = [await one("a photo"), await one("a cat")];
      const keyed = [
        await one("a church", { key: single(0, ["church"]) }),
        await one("a dog", { key: single(1, ["dog"]) }),
      ];
      const expected = [plain[0]!, keyed[0]!, plain[1]!, keyed[1]!];
      const steps: number[] = [];
      const onStep = ({ step, images }: GenerateStep) => void (step === 1 && steps.push(images));
      for (const batchSize of [1, 4]) {
        const images = await generate(prompts, { key, batchSize, onStep });
        images.forEach((image, i) => expect(difference(image, expected[i]!)).toBeLessThanOrEqual(1));
      }
      expect(steps).toEqual([0, 1, 2, 3, 0, 2]);
      const latents = Tensor.cat([5, 6].map((seed) => new Random(seed).normal([1, 4, 16, 16])));
      const given = await generate(["a cat", "a church"], { key, latents });
      const [cat, church] = [latents.slice(0, 0, 1), latents.slice(0, 1, 2)];
      expect(difference(given[0]!, await one("a cat", { latents: cat }))).toBeLessThanOrEqual(1);
      const own = await one("a church", { key: single(0, ["church"]), latents: church });
      expect(difference(given[1]!, own)).toBeLessThanOrEqual(1);
    });

    const amortised = new Random(6).normal([10, 32]).mul(0.3);
    const words = new Random(7).normal([3, 32]);
    const KEYS = [
      ["amortised, concatenated", { form: "amortised", mechanism: "concat", prompt: amortised }],
      ["amortised, added", { form: "amortised", mechanism: "additive", prompt: amortised }],
      ["free, added", { mechanism: "additive", prompt: new Random(8).normal([77, 32]) }],
      ["of learned words", { place: "token", mechanism: "concat", prompt: words }],
    ] as const;
    const keyOf = (more: (typeof KEYS)[number][1]): PromptKey =>
      new PromptKey({ layers: "all", concepts: ["church"], ...more });

    /** One picture by the network's forward and a sampler alone, half by half, with what each half takes written out. */
    async function writtenOut(key: PromptKey, text: string, negative: string, both: boolean): Promise<Image> {
      const { model } = golden;
      const halves = [
        [negative, both],
        [text, true],
      ] as const;
      const given = [];
      for (const [half, sees] of halves) {
        const tokens = [{ token: "<key>", embeddings: key.prompt }];
        const worded = sees && key.place === "token";
        const context = await (worded ? model.encode(`${half}<key>`, { tokens }) : model.encode(half));
        const [down, up] = [key.prompt.slice(0, 0, 5), key.prompt.slice(0, 5)];
        const own =
          key.form === "amortised"
            ? context.squeeze(0).matmul(down.transpose(0, 1)).clamp(0, Infinity).matmul(up)
            : key.prompt;
        const { mechanism, layers } = key;
        given.push([context, sees && !worded ? { prompt: own, mechanism, layers } : {}] as const);
      }
      const run = sampler("ddim").create<Tensor>(model.schedule, short.steps);
      let latents = startingNoise(model, 0, { width: model.imageSize, height: model.imageSize });
      for (const [index, timestep] of run.timesteps.entries()) {
        const input = run.scaleInput(index, latents);
        const [away, towards] = await Promise.all(
          given.map(([context, options]) => model.unet.forward(input, timestep, context, options)),
        );
        latents = run.step(index, latents, combine(away!, towards!, short.guidanceScale));
      }
      return (await decode(model, latents))[0]!;
    }

    it.each(KEYS)(
      "makes the picture that the network makes of the prompt written out: %s",
      async (_, more) => {
        const key = keyOf(more);
        const options = { key, sampler: "ddim", negativePrompt: "a dog" } as const;
        for (const keyGuidance of ["conditional", "both"] as const) {
          const picture = await one("a church", { ...options, keyGuidance });
          const expected = await writtenOut(key, "a church", "a dog", keyGuidance === "both");
          expect(difference(picture, expected)).toBeLessThanOrEqual(1);
          expect(difference(picture, await one("a church", { ...options, key: single(0, ["x"]) }))).toBeGreaterThan(1); // prettier-ignore
        }
      },
    );

    it.each(KEYS)("gives a batch of different texts what each by itself gets: %s", async (_, more) => {
      const key = keyOf(more);
      const texts = ["church", "a photo of a dog", ""];
      for (const keyGuidance of ["conditional", "both"] as const) {
        const together = await generate(texts, { key, keyGuidance });
        for (const [i, text] of texts.entries())
          expect(difference(together[i]!, await one(text, { key, keyGuidance }))).toBeLessThanOrEqual(1);
      }
    });

    it("of words for each concept puts those of the concept that a picture names behind both halves", async () => {
      const both = new Random(9).normal([2, 3, 32]);
      const shared = { place: "token", mechanism: "concat", layers: "mid" } as const;
      const key = new PromptKey({ ...shared, prompt: both, concepts: ["church", "dog"] });
      const options = { keyGuidance: "both", negativePrompt: "a church" } as const;
      const images = await generate(["a dog", "a photo", "a church"], { key, ...options });
      const expected = [
        await one("a dog", { key: key.select("dog"), ...options }),
        await one("a photo", options),
        await one("a church", { key: key.select("church"), ...options }),
      ];
      images.forEach((image, i) => expect(difference(image, expected[i]!)).toBeLessThanOrEqual(1));
    });

    it("of learned words goes together with tokens that a prompt names", async () => {
      const tokens = [{ token: "<t>", embeddings: new Random(3).normal([1, 32]) }];
      const key = keyOf(KEYS[3][1]);
      const spelled = [...tokens, { token: "<key>", embeddings: words }];
      const expected = await one("a <t><key>", { tokens: spelled });
      expect(difference(await one("a <t>", { key, tokens }), expected)).toBeLessThanOrEqual(1);
    });

    it("of learned words that do not fit the text encoder is refused", async () => {
      const key = keyOf({ place: "token", mechanism: "concat", prompt: Tensor.zeros([3, 48]) });
      await expect(generate("church", { key })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });

    it("of another model is refused: its rows are not this model's text states", async () => {
      const key = new PromptKey({ ...fields, prompt: new Random(2).normal([3, 48]), concepts: ["church"] });
      await expect(generate("church", { key })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });
  });

  it.each<[string, unknown, unknown, RegExp]>([
    ["no prompt", undefined, {}, /prompt to be a string or a list/],
    ["an empty list", [], {}, /prompt to be a string or a non-empty list/],
    ["a prompt that is no text", ["church", 5], {}, /prompt to be a string or a list/],
    ["options that are no object", "church", null, /generate options to be an object/],
    ["an unknown option", "church", { guidance: 3 }, /"guidance"/],
    ["no steps", "church", { steps: 0 }, /steps/],
    ["more steps than the schedule has", "church", { steps: 1001 }, /steps/],
    ["half a step", "church", { steps: 2.5 }, /steps/],
    ["negative guidance", "church", { guidanceScale: -1 }, /guidanceScale/],
    ["guidance that is no number", "church", { guidanceScale: "7" }, /guidanceScale/],
    ["an unknown sampler", "church", { sampler: "dpm++" }, /sampler/],
    ["a negative seed", "church", { seed: -1 }, /seed/],
    ["seeds beyond the safe integers", "church", { seed: Number.MAX_SAFE_INTEGER, count: 2 }, /seed/],
    ["no pictures", "church", { count: 0 }, /count/],
    ["an empty batch", "church", { batchSize: 0 }, /batchSize/],
    ["a size off the autoencoder's grid", "church", { width: 65 }, /width to be a multiple of 4/],
    ["a size of nothing", "church", { height: 0 }, /height/],
    [
      "sizes that its network is not told",
      "church",
      { originalSize: [64, 64] },
      /originalSize to be left out.*XL/,
    ],
    [
      "a crop that its network is not told",
      "church",
      { cropsCoordsTopLeft: [0, 0] },
      /cropsCoordsTopLeft to be left/,
    ],
    [
      "a target that its network is not told",
      "church",
      { targetSize: [64, 64] },
      /targetSize to be left out/,
    ],
    ["a negative prompt that is no text", "church", { negativePrompt: null }, /negativePrompt/],
    ["latents that are no tensor", "church", { latents: [1, 2] }, /latents/],
    ["a key that is none", "church", { key: "key.safetensors" }, /key/],
    ["an unknown half for the key", "church", { keyGuidance: "negative" }, /keyGuidance/],
    ["a signal that is none", "church", { signal: {} }, /signal/],
    ["a listener that is no function", "church", { onStep: 5 }, /onStep/],
  ])("refuses %s, naming the option", async (_, prompt, options, message) => {
    await expect(golden.model.generate(prompt as string, options as GenerateOptions)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("heeds a signal before and while many prompts are encoded, and refuses more pictures than a call can hold", async () => {
    const { model } = golden;
    const many = Array.from({ length: 400 }, (_, i) => `a church ${i}`);
    const aborted = { name: "KpopError", code: "ABORTED" };
    await expect(
      model.generate("dog", { count: 900_000, steps: 1, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject(aborted);
    const encoded = jest.spyOn(model, "condition");
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    await expect(model.generate(many, { steps: 1, signal: controller.signal })).rejects.toMatchObject(
      aborted,
    );
    expect(encoded.mock.calls.length).toBeLessThan(5);
    encoded.mockRestore();
    await expect(model.generate(["dog", "cat"], { count: 500_001 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/at most 1000000 pictures/) as string,
    });
  });

  it("refuses latents of another number, and latents beside a size", async () => {
    const refused = { code: "INVALID_ARGUMENT", message: expect.stringContaining("latents") as string };
    for (const shape of [
      [1, 4, 16, 16],
      [2, 3, 16, 16],
      [4, 16, 16],
    ]) {
      const latents = Tensor.zeros(shape);
      await expect(generate("church", { latents, count: 2 })).rejects.toMatchObject(refused);
    }
    const latents = Tensor.zeros([1, 4, 16, 16]);
    await expect(generate("church", { latents, width: 64 })).rejects.toMatchObject(refused);
  });

  it("gives no picture where the networks give NaN or infinity, and says what may help", async () => {
    for (const value of [NaN, Infinity]) {
      const latents = Tensor.zeros([2, 4, 16, 16]);
      const last = Tensor.from([value], [1, 1, 1, 1]).expand([1, 4, 16, 16]);
      const both = Tensor.cat([latents.slice(0, 0, 1), last]);
      await expect(generate("church", { latents: both, count: 2 })).rejects.toMatchObject({
        name: "KpopError",
        code: "NUMERIC_FAILURE",
        message: expect.stringMatching(/NaN or infinite in float32: .*latents/) as string,
      });
    }
  });

  it("says so when a size is beyond the memory, and lives on", async () => {
    const side = 2 ** 23;
    await expect(generate("church", { width: side, height: side })).rejects.toMatchObject({
      name: "KpopError",
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/\d{12,} bytes/) as string,
    });
    expect((await one("church")).width).toBe(64);
  });
});

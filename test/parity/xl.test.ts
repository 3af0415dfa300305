import { repeated, type Condition } from "../../lib/diffusion/condition";
import { denoise } from "../../lib/diffusion/denoise";
import { drawAtPlaces, generateImageSet } from "../../lib/diffusion/image-set";
import { decode } from "../../lib/diffusion/generate";
import type { GenerateOptions } from "../../lib/diffusion/generate-options";
import { combine, guidedPrediction } from "../../lib/diffusion/guidance";
import { networkOf, predictNoise } from "../../lib/diffusion/predict";
import { sampler } from "../../lib/diffusion/samplers";
import type { Tensor } from "../../lib/runtime/tensor";
import { relativeError, worstByte } from "../support/compare";
import { loadFamily } from "../support/family-model";
import type { GoldenModel } from "../support/golden-model";
import { temporaryDirectory } from "../support/temporary-directory";

// The reference is diffusers and transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

// [height, width] and [top, left], as in the reference.
const SIZES = { originalSize: [96, 40], cropsCoordsTopLeft: [8, 3], targetSize: [48, 72] } as const;

describe("a tiny model of Stable Diffusion XL's kind", () => {
  let reference: GoldenModel;
  const expected = (key: string): Tensor => reference.expected(key);
  const texts = ["a photo of a church", "a café! 2 English springers by the sea"];
  const numbers = async (key: string): Promise<number[]> => Array.from(await expected(key).data(), Number);
  const predict = async (options = {}): Promise<Tensor> =>
    reference.model.unet.forward(
      expected("unet.sample"),
      await numbers("unet.timestep"),
      expected("text.context"),
      { added: { pooled: expected("text.pooled"), timeIds: expected("unet.time_ids") }, ...options },
    );

  beforeAll(async () => {
    reference = await loadFamily("xl");
  });
  afterAll(() => reference.dispose());

  it("pads for each text encoder, and joins their last but one states; the second pools", async () => {
    const { model } = reference;
    expect(model.tokenizer.encode(texts).flat()).toEqual(await numbers("text.input_ids"));
    expect(model.tokenizer2!.encode(texts).flat()).toEqual(await numbers("text.input_ids_2"));
    expect(model.tokenizer2!.padTokenId).not.toBe(model.tokenizer.padTokenId);
    const { context, pooled } = await model.condition(texts);
    expect(await relativeError(context, expected("text.context"))).toBeLessThan(OUTPUT);
    expect(await relativeError(pooled!, expected("text.pooled"))).toBeLessThan(OUTPUT);
    expect(await relativeError(await model.encode(texts), expected("text.context"))).toBeLessThan(OUTPUT);
  });

  it("predicts from text, pooled text and sizes, with transformers as deep as each level's", async () => {
    expect(await relativeError(await predict(), expected("unet.out"))).toBeLessThan(OUTPUT);
    for (const layers of ["mid", "all"] as const) {
      const out = await predict({ prompt: expected("unet.prompt"), layers });
      expect(await relativeError(out, expected(`unet.out.concat.${layers}`))).toBeLessThan(OUTPUT);
    }
  });

  it("tells the network by default that a picture is as large as its latents say", async () => {
    const { model } = reference;
    const batch = { latents: expected("unet.sample"), timesteps: await numbers("unet.timestep") };
    const condition = { context: expected("text.context"), pooled: expected("text.pooled") };
    const noise = await predictNoise(networkOf(model), batch, condition);
    const second = (all: Tensor): Tensor => all.slice(0, 1);
    // The fixture's second item is told of 64 × 64 pixels, its first one of a part of a larger picture.
    expect(await relativeError(second(noise), second(expected("unet.out")))).toBeLessThan(OUTPUT);
    expect(await relativeError(noise, expected("unet.out"))).toBeGreaterThan(1e-3);
  });

  it("tells both halves of guidance the sizes that are given, where one alone sees a learned prompt, too", async () => {
    const { model } = reference;
    const [latents, timesteps] = [expected("unet.sample"), 17];
    const timeIds = expected("unet.time_ids").slice(0, 0, 1).expand([2, 6]); // 512 × 384, from 16 and 0 on, to 256 × 192
    const sizes = { originalSize: [512, 384], cropsCoordsTopLeft: [16, 0], targetSize: [256, 192] } as const;
    const [text, negative] = [await model.condition(texts), await model.condition(["blurry", ""])];
    const prompt = expected("unet.prompt");
    const told = ({ context, pooled }: Condition, given: object = {}): Promise<Tensor> =>
      model.unet.forward(latents, timesteps, context, { added: { pooled: pooled!, timeIds }, ...given });
    const injection = { prompt, mechanism: "concat", layers: "mid" } as const;
    const guided = (more: object): Promise<Tensor> =>
      guidedPrediction(model, { latents, timesteps }, { text, negative, guidanceScale: 3, sizes, ...more });
    const seeing = { prompt, layers: "mid" };
    for (const [more, own] of [
      [{}, [{}, {}]],
      [{ injection }, [{}, seeing]],
      [{ injection, injectNegative: true }, [seeing, seeing]],
    ] as const) {
      const wanted = combine(await told(negative, own[0]), await told(text, own[1]), 3);
      expect(await relativeError(await guided(more), wanted)).toBeLessThan(OUTPUT);
    }
    const [alone, toldAlone] = [await guided({ negative: null }), await told(text)];
    expect(await relativeError(alone, toldAlone)).toBeLessThan(OUTPUT);
    expect(await relativeError(await guided({ sizes: {} }), await guided({}))).toBeGreaterThan(1e-3);
  });

  it("makes sets of pictures that are told sizes, apart from those that are not", async () => {
    const options = { steps: 1, batchSize: 1, directory: temporaryDirectory() };
    const items = [{ prompt: "a church", seed: 0 }];
    const [plain, told] = [
      await generateImageSet(reference.model, items, options),
      await generateImageSet(reference.model, items, { ...options, ...SIZES }),
    ];
    expect([plain.generated, told.generated]).toEqual([1, 1]);
    const [one] = await reference.model.generate("a church", { steps: 1, ...SIZES });
    const drawn = await told.image(0);
    expect(drawn.data).toEqual(one!.data);
    expect(drawn.data).not.toEqual((await plain.image(0)).data);
    const [again] = await drawAtPlaces(
      reference.model,
      [{ ...items[0]!, place: 0 }],
      { steps: 1, batchSize: 1, ...SIZES },
      {},
    );
    expect(again!.data).toEqual(drawn.data);
  });

  it("keeps pictures that are told other sizes apart", async () => {
    const keepIn = temporaryDirectory();
    const drawing = { steps: 1, keepIn } as const;
    const [plain] = await reference.model.generate("a church", drawing);
    // The picture's own size is what it is told anyway.
    const [same] = await reference.model.generate("a church", { ...drawing, originalSize: [64, 64] });
    expect(same!.data).toEqual(plain!.data);
    const told = reference.model.generate("a church", { ...drawing, ...SIZES });
    await expect(told).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/sizes/) as string,
    });
  });

  it.each<[object, RegExp]>([
    [{ originalSize: 64 }, /originalSize to be \[height, width\], two integers >= 1, but received 64/],
    [{ originalSize: [64] }, /originalSize.*received \[64\] \(array of 1\)/],
    [{ originalSize: [64, 0] }, /originalSize.*received \[64,0\]/],
    [{ targetSize: [64, 1.5] }, /targetSize to be \[height, width\]/],
    [{ targetSize: { height: 64, width: 64 } }, /targetSize.*received an object/],
    [{ cropsCoordsTopLeft: [-1, 0] }, /cropsCoordsTopLeft to be \[top, left\], two integers >= 0/],
    [{ cropsCoordsTopLeft: ["0", 0] }, /cropsCoordsTopLeft/],
  ])("refuses to be told %j", async (options, message) => {
    const drawing = reference.model.generate("a church", { steps: 1, ...options });
    await expect(drawing).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses conditions without pooled texts, and other networks with them", async () => {
    const { model } = reference;
    const batch = { latents: expected("unet.sample"), timesteps: 17 };
    const refused = { code: "INVALID_ARGUMENT", message: expect.stringMatching(/pooled/) as string };
    await expect(predictNoise(model, batch, { context: expected("text.context") })).rejects.toMatchObject(
      refused,
    );
    await expect(predict({ added: undefined })).rejects.toMatchObject(refused);
    const added = { pooled: expected("text.pooled").slice(1, 1), timeIds: expected("unet.time_ids") };
    await expect(predict({ added })).rejects.toMatchObject(refused);
  });

  it("encodes and decodes images", async () => {
    const { vae } = reference.model;
    const { mean } = await vae.encode(expected("vae.image"));
    expect(await relativeError(mean, expected("vae.encode.mean"))).toBeLessThan(OUTPUT);
    const decoded = await vae.decode(expected("vae.latent"));
    expect(await relativeError(decoded, expected("vae.decode"))).toBeLessThan(OUTPUT);
    // force_upcast: float16 latents are decoded in float32.
    expect((await vae.decode(expected("vae.latent").to("float16"))).dtype).toBe("float32");
  });

  it("differentiates the loss by prompt and weights, those of the added conditions too", async () => {
    const { unet } = reference.model;
    const names = reference.keys("grad.unet.").map((key) => key.slice("grad.unet.".length));
    expect(names).toContain("add_embedding.linear_1.weight");
    const weights = names.map((weight) => unet.parameter(weight));
    const prompt = expected("unet.prompt").clone();
    for (const leaf of [...weights, prompt]) await leaf.requireGrad();
    const loss = (await predict({ prompt, grad: true })).mse(expected("grad.target"));
    expect(await relativeError(loss, expected("grad.loss"))).toBeLessThan(OUTPUT);
    await loss.backward();
    expect(await relativeError(prompt.grad!, expected("grad.prompt"))).toBeLessThan(GRADIENT);
    for (const [index, weight] of weights.entries()) {
      expect(await relativeError(weight.grad!, expected(`grad.unet.${names[index]}`))).toBeLessThan(GRADIENT);
      await weight.zeroGrad();
      await weight.requireGrad(false);
    }
  });

  it.each<[string, string, GenerateOptions]>([
    ["negative", "with a negative prompt", { negativePrompt: "blurry" }],
    ["none", "without one, which is zeros", {}],
    ["empty", "with an empty one, which is a text", { negativePrompt: "" }],
    ["wide", "wider than high", { negativePrompt: "blurry" }],
    ["sizes", "told another size before and after, and a crop", { negativePrompt: "blurry", ...SIZES }],
    ["original", "told another size before alone", { originalSize: SIZES.originalSize }],
  ])("draws the pipeline's pictures: %s, %s", async (name, _, options) => {
    const { model } = reference;
    const latents = expected(`picture.${name}.noise`);
    const prompts = texts.slice(0, latents.shape[0]);
    const { negativePrompt: negative, ...sizes } = options;
    const away = negative === undefined ? await model.unconditional() : await model.condition([negative]);
    const guidance = {
      sizes,
      text: await model.condition(prompts),
      negative: repeated(away, prompts.length),
      guidanceScale: 5,
    };
    let last: Tensor | undefined;
    const run = sampler(model.defaultSampler).create<Tensor>(model.schedule, 6);
    for await (const state of denoise(model, run, latents, guidance)) last = state.latents.clone();
    expect(await relativeError(last!, expected(`picture.${name}.latents`))).toBeLessThan(OUTPUT);
    const images = await model.generate(prompts, { latents, steps: 6, guidanceScale: 5, ...options });
    const drawn = await decode(model, expected(`picture.${name}.latents`));
    for (const [index, image] of images.entries()) {
      const differences = image.data.map((byte, i) => Math.abs(byte - drawn[index]!.data[i]!));
      expect(Math.max(...differences)).toBeLessThanOrEqual(2);
    }
    if (reference.keys(`picture.${name}.bytes`).length === 0) return;
    expect(await worstByte(images, expected(`picture.${name}.bytes`))).toBeLessThanOrEqual(3);
  });
});

import { join } from "node:path";
import { generateImageSet } from "../../../../lib/diffusion/image-set";
import { changedTensors } from "../../../../lib/diffusion/save-model";
import { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { PrepareReport } from "../../../../lib/erasure/method";
import type { CaOptions } from "../../../../lib/erasure/methods/ca";
import { AnchorPictures } from "../../../../lib/erasure/shared/anchor-pictures";
import { TOKEN_EMBEDDING } from "../../../../lib/erasure/shared/trained-words";
import * as safetensors from "../../../../lib/io/safetensors";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { relativeUpdateError } from "../../../support/compare";
import { stubContext } from "../../../support/erasure-context";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";
import { referenceCa, type CaBatch, type CaSetting } from "../../../support/reference-ca";
import { temporaryFolders } from "../../../support/temporary";

const SEED = 11;
const IMAGES = 3;
const ITERATIONS = 2;
const PICTURES = { samplingSteps: 2, guidanceScale: 2 };
const RATE = 2e-4;
const folder = temporaryFolders();

describe("CA", () => {
  let golden: GoldenModel;
  let cacheDirectory: string;
  beforeAll(async () => {
    golden = await loadGolden("small");
    cacheDirectory = folder();
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<CaOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      concepts: "church",
      seed: SEED,
      iterations: ITERATIONS,
      batchSize: 2,
      images: IMAGES,
      ...PICTURES,
      cacheDirectory,
      augment: false,
      learningRate: RATE,
      ...options,
      method: "ca",
    });
  const losses = ({ history }: Erasure): Record<string, number>[] => history.map((report) => report.losses);

  /** The latents of a picture that was drawn for a caption, by the first of its seeds that comes up. */
  async function latentsOf(caption: string, seed: number): Promise<Tensor> {
    const { samplingSteps: steps, guidanceScale } = PICTURES;
    const item = [{ prompt: caption, seed }];
    const set = await generateImageSet(golden.model, item, {
      steps,
      guidanceScale,
      directory: cacheDirectory,
    });
    const { data, width, height } = await set.image(0);
    const pixels = Float32Array.from({ length: data.length }, (_, i) => {
      const [channel, place] = [Math.floor(i / (width * height)), i % (width * height)];
      return (data[place * 3 + channel]! / 255) * 2 - 1;
    });
    const { mean } = await golden.model.vae.encode(Tensor.from(pixels, [1, 3, height, width]));
    return mean.mul(golden.model.vae.config.scaling_factor);
  }

  interface Variant {
    options?: Partial<CaOptions>;
    setting?: Partial<CaSetting>;
    /** Captions of each concept: that of the anchor, and those of the concept. */
    captions?: [string, ...string[]][][];
    preserve?: string[];
  }

  /** The draws that the method's labels stand for. */
  async function batches({ captions = [[["a photo", "church"]]], preserve }: Variant): Promise<CaBatch[]> {
    const made: CaBatch[] = [];
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      const batch: CaBatch = { clean: null!, noise: null!, timesteps: [], anchors: [], targets: [] };
      const [clean, noise, preserved]: [Tensor[], Tensor[], string[]] = [[], [], []];
      for (let item = 0; item < 2; item++) {
        const own = captions[(iteration * 2 + item) % captions.length]!;
        const random = new Random(SEED).at("anchor", iteration, item);
        const picture = random.at("picture").below(IMAGES);
        const [anchor, ...targets] = own[picture % own.length]!;
        const draw = new Random(SEED).at("noise", iteration, item);
        clean.push(await latentsOf(anchor, picture));
        noise.push(draw.normal([1, 4, 16, 16]));
        batch.timesteps.push(draw.at("timestep").below(1000));
        batch.anchors.push(anchor);
        batch.targets.push(targets[random.at("target").below(targets.length)]!);
        if (preserve === undefined) continue;
        preserved.push(preserve[new Random(SEED).at("preserve", iteration, item).below(preserve.length)]!);
      }
      made.push({
        ...batch,
        clean: Tensor.cat(clean),
        noise: Tensor.cat(noise),
        ...(preserve === undefined ? {} : { preserved }),
      });
    }
    return made;
  }

  const defaults: CaSetting = {
    network: "unet",
    trained: (name) => /attn2\.to_[kv]\./.test(name),
    learningRate: RATE,
    objective: "model",
    priorWeight: 0,
    weightDecay: 1e-2,
    maxGradientNorm: 1,
  };

  /** ‖Δ - Δ'‖ / ‖Δ'‖ of the way that all these weights went together. */
  async function updateError(
    erasure: Erasure,
    network: CaSetting["network"],
    weights: ReadonlyMap<string, Tensor>,
  ): Promise<number> {
    const flat = (tensor: (key: string) => Tensor): Tensor =>
      Tensor.cat([...weights.keys()].map((key) => tensor(key).detach().reshape([-1])));
    return relativeUpdateError(
      flat((key) => erasure.model[network].parameter(key)),
      flat((key) => weights.get(key)!),
      flat((key) => golden.model[network].parameter(key)),
    );
  }

  function expectLosses(erasure: Erasure, expected: readonly Record<string, number>[]): void {
    expect(erasure.history).toHaveLength(expected.length);
    losses(erasure).forEach((actual, i) => {
      expect(Object.keys(actual)).toEqual(Object.keys(expected[i]!));
      // What is preserved begins as a small difference, hence the absolute term.
      for (const [name, value] of Object.entries(expected[i]!))
        expect(Math.abs(actual[name]! - value)).toBeLessThanOrEqual(2e-3 * value + 1e-8);
    });
  }

  const inStyle = (caption: string): [string, ...string[]] => {
    const before = `in Monet's style, ${caption}`;
    return [caption, `${caption}, in the style of Monet`, before, before];
  };

  // Adam divides by the gradient's size, so that float32 noise in the smallest elements shows in the update.
  it.each<[string, Variant]>([
    ["its defaults", {}],
    [
      "an anchor for each of several concepts, in several templates",
      {
        options: {
          concepts: ["church", "English springer"],
          anchor: ["building", "dog"],
          templates: ["{}", "a photo of a {}"],
        },
        captions: [
          [
            ["building", "church"],
            ["a photo of a building", "a photo of a church"],
          ],
          [
            ["dog", "English springer"],
            ["a photo of a dog", "a photo of a English springer"],
          ],
        ],
      },
    ],
    [
      "captions of one's own",
      {
        options: { anchor: "house", anchorPrompts: ["a house by a lake", "two houses"] },
        captions: [
          [
            ["a house by a lake", "a church by a lake"],
            ["two houses", "two churchs"],
          ],
        ],
      },
    ],
    [
      "a style",
      {
        options: { concepts: "Monet", kind: "style", anchorPrompts: ["painting", "a lake"] },
        captions: [[inStyle("painting"), inStyle("a lake")]],
      },
    ],
    [
      "an anchor and a prior loss, weighted",
      {
        options: { anchor: "castle", priorWeight: 0.7 },
        setting: { priorWeight: 0.7 },
        captions: [[["castle", "church"]]],
      },
    ],
    [
      "the noise as target and a prior loss",
      {
        options: { objective: "noise", priorWeight: 2 },
        setting: { objective: "noise", priorWeight: 2 },
      },
    ],
    ["prompts to preserve", { options: { preserve: ["a dog", "a fish"] }, preserve: ["a dog", "a fish"] }],
    [
      "all attention, little decay and a low bound on gradients",
      {
        options: { parameters: "attn", weightDecay: 0.5, maxGradientNorm: 1e-3 },
        setting: {
          trained: (name) => /attn[12]\.to_(q|k|v|out\.0)\./.test(name),
          weightDecay: 0.5,
          maxGradientNorm: 1e-3,
        },
      },
    ],
  ])("with %s has the losses of its equations within 0.2 %%, and AdamW's weights", async (_, variant) => {
    const setting = { ...defaults, ...variant.setting };
    const erasure = await run(variant.options);
    const expected = await referenceCa(golden.model, await batches(variant), setting);
    expectLosses(erasure, expected.losses);
    expect(await updateError(erasure, setting.network, expected.weights)).toBeLessThan(1e-3);
    expect(erasure.key).toBeUndefined();
    erasure.dispose();
  });

  it("trains on scaled and mirrored pictures, with the loss inside of their border", async () => {
    const options = { augment: true, iterations: 1, batchSize: 4 };
    const erasure = await run(options);
    const pictures = await AnchorPictures.create(
      { ...stubContext(), base: golden.model, random: new Random(SEED) },
      [[{ anchor: "a photo", targets: ["church"] }]],
      { images: IMAGES, ...PICTURES, cacheDirectory, augmentation: "scale", batchSize: 4 },
    );
    const { clean, mask, anchors, targets } = await pictures.next(0);
    const draws = [0, 1, 2, 3].map((item) => new Random(SEED).at("noise", 0, item));
    const batch = {
      clean,
      mask: mask!,
      anchors: [...anchors],
      targets: [...targets],
      noise: Tensor.cat(draws.map((draw) => draw.normal([1, 4, 16, 16]))),
      timesteps: draws.map((draw) => draw.at("timestep").below(1000)),
    };
    const expected = await referenceCa(golden.model, [batch], defaults);
    expectLosses(erasure, expected.losses);
    expect(await updateError(erasure, "unet", expected.weights)).toBeLessThan(1e-3);
    const { mask: _, ...unmasked } = batch;
    const other = await referenceCa(golden.model, [unmasked], { ...defaults, learningRate: 0 });
    expect(Math.abs(losses(erasure)[0]!["erase"]! / other.losses[0]!["erase"]! - 1)).toBeGreaterThan(0.01);
    pictures.dispose();
    erasure.dispose();
  });

  it("only mirrors a style's pictures: no caption says that they are far or near", async () => {
    const style = { concepts: "Monet", kind: "style", batchSize: 4 } as const;
    const plain = await run({ ...style, augment: false });
    const mirrored = await run({ ...style, augment: true });
    losses(mirrored).forEach(({ erase: loss }, i) => {
      const other = losses(plain)[i]!["erase"]!;
      expect(loss).not.toBe(other);
      // Another picture, or another caption, changes more.
      expect(loss! / other).toBeGreaterThan(0.5);
      expect(loss! / other).toBeLessThan(2);
    });
    plain.dispose();
    mirrored.dispose();
  });

  it("learns: the loss falls below a third in 20 iterations", async () => {
    const erasure = await run({ iterations: 20, learningRate: 2e-3, anchor: "castle" });
    const mean = (from: number, to: number): number =>
      losses(erasure)
        .slice(from, to)
        .reduce((sum, { erase: loss }) => sum + loss! / (to - from), 0);
    expect(mean(14, 20)).toBeLessThan(mean(0, 4) / 3);
    erasure.dispose();
  });

  describe("with the embedding alone", () => {
    const words = { parameters: "embedding", concepts: "church dog", anchor: "dog" } as const;
    const captions: [string, ...string[]][][] = [[["dog", "church dog"]]];
    const ids = (text: string): number[] =>
      golden.model.tokenizer.encode(text, { padding: false })[0]!.slice(1, -1);
    const table = (model: StableDiffusion): Tensor => model.textEncoder.parameter(TOKEN_EMBEDDING);
    const hash = (model: StableDiffusion): Promise<string> => tensorHash(table(model));

    it("has the losses of its equations within 0.2 %, and AdamW's rows of the concept's words", async () => {
      const options = { ...words, priorWeight: 0.5, learningRate: 1e-3 };
      const erasure = await run(options);
      const width = table(golden.model).shape[1]!;
      const trained = new Set(ids("church"));
      expect(trained.size).toBeGreaterThan(0);
      const expected = await referenceCa(golden.model, await batches({ captions }), {
        ...defaults,
        network: "textEncoder",
        trained: (name) => name === TOKEN_EMBEDDING,
        only: [...trained].flatMap((row) => Array.from({ length: width }, (_, i) => row * width + i)),
        priorWeight: 0.5,
        learningRate: 1e-3,
      });
      expectLosses(erasure, expected.losses);
      expect(await updateError(erasure, "textEncoder", expected.weights)).toBeLessThan(1e-3);
      erasure.dispose();
    });

    it("changes no other weight, and saves what it changes in every format", async () => {
      const given = await hash(golden.model);
      const before = await table(golden.model).data();
      const erasure = await run(words);
      const after = await table(erasure.model).data();
      const width = table(golden.model).shape[1]!;
      const moved = new Set(
        Array.from(after.keys())
          .filter((i) => after[i] !== before[i])
          .map((i) => Math.floor(i / width)),
      );
      expect([...moved].sort((a, b) => a - b)).toEqual([...new Set(ids("church"))].sort((a, b) => a - b));
      expect(await hash(golden.model)).toBe(given);
      expect(erasure.manifest.changedParameters).toBe(1);

      const directory = folder();
      const { path } = golden.model.source;
      await erasure.save(join(directory, "diffusers"));
      await erasure.save(join(directory, "single"), { format: "single-file" });
      await erasure.save(join(directory, "delta"), { format: "delta" });
      const delta = await safetensors.open(join(directory, "delta", "delta.safetensors"));
      expect(delta.names).toEqual([`text_encoder.${TOKEN_EMBEDDING}`]);
      await delta.close();
      // The fixture's file has this table in float16.
      const stored = await tensorHash(table(erasure.model).to("float16").to("float32"));
      for (const load of [
        () => StableDiffusion.load(join(directory, "diffusers")),
        () => StableDiffusion.load(join(directory, "single", "model.safetensors")),
        () => StableDiffusion.load(path, { delta: join(directory, "delta") }),
      ]) {
        const loaded = await load();
        expect(await hash(loaded)).toBe(stored);
        loaded.dispose();
      }
      erasure.dispose();
    });

    it("resumes to the bits of a run that was not interrupted, and keeps the words in later erasures", async () => {
      const whole = await run(words);
      const controller = new AbortController();
      const checkpoint = { directory: folder(), every: 1 };
      const stopped = run({
        ...words,
        checkpoint,
        signal: controller.signal,
        onStep: () => controller.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      const resumed = await run({ ...words, checkpoint, resume: true });
      expect(await hash(resumed.model)).toBe(await hash(whole.model));

      const second = await erase(whole.model, { method: "uce", concepts: "fish" });
      expect([...changedTensors(second.model).textEncoder!.keys()]).toEqual([TOKEN_EMBEDDING]);
      for (const erasure of [whole, resumed, second]) erasure.dispose();
    });

    it.each<[string, Partial<CaOptions>, RegExp]>([
      ["prompts to preserve", { preserve: ["a dog"] }, /preserve/],
      ["a concept whose words are all its anchor's", { concepts: "dog", anchor: "church dog" }, /anchor/],
    ])("refuses %s", async (_, options, message) => {
      await expect(run({ ...words, ...options })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    });
  });

  it("makes pictures once: later runs, of other seeds and concepts too, find them", async () => {
    const own = { cacheDirectory: folder(), anchor: "castle", iterations: 1 };
    const reports: PrepareReport[] = [];
    const first = await run({ ...own, onPrepare: (report) => void reports.push(report) });
    expect(reports.at(-1)).toEqual({ what: "picture", done: IMAGES, total: IMAGES, etaSeconds: 0 });
    const again = await run(own);
    const other = await run({ ...own, seed: 3, concepts: ["church", "dog"] });
    const spent = (erasure: Erasure): number => erasure.manifest.unetEvaluations;
    expect(spent(other)).toBe(spent(again));
    // Pictures are made four at a time, with guidance; PNDM takes a step more than it is asked for.
    expect(spent(first) - spent(again)).toBe(4 * (PICTURES.samplingSteps + 1) * 2);
    expect(losses(again)).toEqual(losses(first));
    for (const erasure of [first, again, other]) erasure.dispose();
  });

  it("stops while it makes pictures", async () => {
    const controller = new AbortController();
    const steps: unknown[] = [];
    const stopped = run({
      cacheDirectory: folder(),
      images: 8,
      signal: controller.signal,
      onPrepare: () => controller.abort(),
      onStep: (report) => void steps.push(report),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(steps).toEqual([]);
  });

  it.each<[string, Partial<CaOptions>, number]>([
    ["two for the objective", {}, 2],
    ["one for the noise as target", { objective: "noise" }, 1],
    ["two for the noise as target and a prior loss", { objective: "noise", priorWeight: 1 }, 2],
    ["two for the objective and a prior loss", { priorWeight: 1 }, 2],
    ["four where something is preserved", { preserve: ["a dog"] }, 4],
  ])("spends evaluations a picture: %s", async (_, options, each) => {
    await run({ ...options, iterations: 1 }).then((erasure) => erasure.dispose());
    const erasure = await run({ ...options, iterations: 1 });
    expect(erasure.manifest.unetEvaluations).toBe(2 * each);
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["an unknown kind", { kind: "artist" }, /kind to be one of "object", "style"/],
    ["a blank anchor", { anchor: " " }, /anchor to be a non-empty string/],
    ["an anchor that is no text", { anchor: 5 }, /anchor to be a non-empty string or a list/],
    [
      "the concept as its anchor",
      { anchor: "church" },
      /anchor to be another text than the concept "church"/,
    ],
    [
      "two anchors for three concepts",
      { concepts: ["a", "b", "c"], anchor: ["d", "e"] },
      /anchor to be one text, or as many as there are concepts \(3\)/,
    ],
    ["captions in one string", { anchorPrompts: "a photo" }, /anchorPrompts to be a list/],
    [
      "captions without the anchor",
      { anchor: "cat", anchorPrompts: ["a dog"] },
      /anchorPrompts to name "cat"/,
    ],
    [
      "a caption that no concept takes",
      { anchor: "cat", anchorPrompts: ["a cat", "a dog"] },
      /each of anchorPrompts to be a text that names an anchor \("cat"\) but received "a dog"/,
    ],
    [
      "fewer pictures than captions",
      { templates: ["a {}", "the {}", "{}"], images: 2 },
      /images to be at least 3/,
    ],
    ["no pictures", { images: 0 }, /images/],
    ["an unknown objective", { objective: "anchor" }, /objective to be one of "model", "noise"/],
    ["a negative prior weight", { priorWeight: -1 }, /priorWeight/],
    ["a number in place of a switch", { augment: 1 }, /augment/],
    ["more steps than the schedule has", { samplingSteps: 1001 }, /samplingSteps/],
    ["a cache directory that is no path", { cacheDirectory: 5 }, /cacheDirectory to be a path/],
    ["negative decay", { weightDecay: -1 }, /weightDecay/],
    ["a bound of zero on gradients", { maxGradientNorm: 0 }, /maxGradientNorm to be a number > 0/],
    ["an unknown selector", { parameters: "words" }, /parameters/],
    ["half a batch", { batchSize: 0.5 }, /batchSize/],
    ["an option of ESD", { negativeGuidance: 1 }, /"negativeGuidance" in the options of "ca"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

import { generateImageSet } from "../../lib/diffusion/image-set";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { erase } from "../../lib/erasure/erase";
import type { Erasure } from "../../lib/erasure/erasure";
import type { CaOptions } from "../../lib/erasure/methods/ca";
import { keep } from "../../lib/runtime/scope";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { trainedError } from "./compare";
import { loadGolden, type GoldenModel } from "./golden-model";
import { referenceCa, type CaBatch, type CaSetting } from "./reference-ca";
import { temporaryFolders } from "./temporary";

export const SEED = 11;
export const IMAGES = 3;
export const PICTURES = { samplingSteps: 2, guidanceScale: 2 };
const ITERATIONS = 2;
const BATCH = 2;
const RATE = 2e-4;

/** Captions of each concept: that of the anchor, and those of the concept. */
export type TrialCaptions = [string, ...string[]][][];

/** Short runs of CA on the small golden model, and what its equations make of the same draws. Call it in a describe. */
export function caTrials() {
  const folder = temporaryFolders();
  const latents = new Map<string, Tensor>();
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
      neighbours: "off",
      seed: SEED,
      iterations: ITERATIONS,
      batchSize: BATCH,
      images: IMAGES,
      ...PICTURES,
      cacheDirectory,
      augment: false,
      learningRate: RATE,
      ...options,
      method: "ca",
    });

  /** The latents of a picture that a run has drawn, from its file. */
  async function latentsOf(caption: string, seed: number): Promise<Tensor> {
    const key = `${seed} ${caption}`;
    const known = latents.get(key);
    if (known !== undefined) return known;
    const { samplingSteps: steps, guidanceScale } = PICTURES;
    const settings = { steps, guidanceScale, directory: cacheDirectory };
    const set = await generateImageSet(golden.model, [{ prompt: caption, seed }], settings);
    expect(set.generated).toBe(0);
    const { data, width, height } = await set.image(0);
    const pixels = Float32Array.from({ length: data.length }, (_, i) => {
      const [channel, place] = [Math.floor(i / (width * height)), i % (width * height)];
      return (data[place * 3 + channel]! / 255) * 2 - 1;
    });
    const { mean } = await golden.model.vae.encode(Tensor.from(pixels, [1, 3, height, width]));
    latents.set(key, keep(mean.mul(golden.model.vae.config.scaling_factor)));
    return latents.get(key)!;
  }

  /** The draws that the method's labels stand for, without augmentation; the runs that they are of come first. */
  async function batches(captions: TrialCaptions, preserve?: readonly string[]): Promise<CaBatch[]> {
    const made: CaBatch[] = [];
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      const texts: Pick<CaBatch, "timesteps" | "anchors" | "targets"> = {
        timesteps: [],
        anchors: [],
        targets: [],
      };
      const [clean, noise, preserved]: [Tensor[], Tensor[], string[]] = [[], [], []];
      for (let item = 0; item < BATCH; item++) {
        const own = captions[(iteration * BATCH + item) % captions.length]!;
        const random = new Random(SEED).at("anchor", iteration, item);
        const picture = random.at("picture").below(IMAGES);
        const [anchor, ...targets] = own[picture % own.length]!;
        const draw = new Random(SEED).at("noise", iteration, item);
        clean.push(await latentsOf(anchor, picture));
        noise.push(draw.normal([1, 4, 16, 16]));
        texts.timesteps.push(draw.at("timestep").below(1000));
        texts.anchors.push(anchor);
        texts.targets.push(targets[random.at("target").below(targets.length)]!);
        if (preserve === undefined) continue;
        preserved.push(preserve[new Random(SEED).at("preserve", iteration, item).below(preserve.length)]!);
      }
      made.push({
        ...texts,
        clean: Tensor.cat(clean),
        noise: Tensor.cat(noise),
        ...(preserve === undefined ? {} : { preserved }),
      });
    }
    return made;
  }

  /** Expects the losses of the equations within 0.2 %, and AdamW's weights within 0.1 % of the way they went. */
  async function expectEquations(
    erasure: Erasure,
    drawn: readonly CaBatch[],
    own: Partial<CaSetting> = {},
  ): Promise<void> {
    const setting: CaSetting = {
      network: "unet",
      trained: (name) => /attn2\.to_[kv]\./.test(name),
      learningRate: RATE,
      objective: "model",
      priorWeight: 0,
      weightDecay: 1e-2,
      maxGradientNorm: 1,
      ...own,
    };
    const expected = await referenceCa(golden.model, drawn, setting);
    expect(erasure.history).toHaveLength(expected.losses.length);
    erasure.history.forEach(({ losses: actual }, i) => {
      expect(Object.keys(actual)).toEqual(Object.keys(expected.losses[i]!));
      // What is preserved begins as a small difference, hence the absolute term.
      for (const [name, value] of Object.entries(expected.losses[i]!))
        expect(Math.abs(actual[name]! - value)).toBeLessThanOrEqual(2e-3 * value + 1e-8);
    });
    const { network } = setting;
    const error = await trainedError(erasure.model[network], expected, golden.model[network]);
    expect(error).toBeLessThan(1e-3);
  }

  return {
    run,
    batches,
    expectEquations,
    folder,
    model: (): StableDiffusion => golden.model,
    cacheDirectory: (): string => cacheDirectory,
  };
}

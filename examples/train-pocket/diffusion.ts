import type { AutoencoderKL, CLIPTextModel, CLIPTokenizer, Condition, UNet2DConditionModel } from "../../lib/index"; // prettier-ignore
import { addNoise, NoiseSchedule, noGrad, predictNoise, Random, scope, Tensor } from "../../lib/index";
import { caption } from "./captions";
import { TOKENS, type Family } from "./families";
import type { Pictures } from "./pictures";
import type { Stage } from "./training";

const BATCH = 24;
/** Low-noise steps, which are easy and many, weigh less from here (Min-SNR-5, arXiv 2303.09556, eq. 8 for ε-prediction). */
const MOST_SNR = 5;
/** How much more noisy steps may weigh: what is drawn, and in which style, is decided there. */
const MOST_WEIGHT = 10;

/** Latents of every drawing, and the factor that gives them unit variance. */
export interface Latents {
  /** (pictures × variants, 4, 16, 16), scaled */
  values: Tensor;
  scale: number;
}

/** Encodes the drawings once; training then never runs the autoencoder. */
export async function encodeAll(vae: AutoencoderKL, pictures: Pictures, device: string): Promise<Latents> {
  const parts: Tensor[] = [];
  for (let picture = 0; picture < pictures.list.length; picture++) {
    const drawings = Array.from({ length: pictures.variants }, (_, variant) => ({ picture, variant }));
    parts.push(await scope(async () => (await vae.encode(pictures.batch(drawings, device))).mean));
  }
  const means = Tensor.cat(parts);
  for (const part of parts) part.dispose();
  const center = await means.mean().item();
  const deviation = Math.sqrt(await means.sub(center).square().mean().item());
  return { values: means.mul(1 / deviation), scale: 1 / deviation };
}

/**
 * Weight of the error of ε at a signal-to-noise ratio: below 1 that of the error of z_0, as in truncated SNR weighting
 * (arXiv 2202.00512, §4), which is 1 / SNR for ε.
 */
export function lossWeight(snr: number): number {
  return snr > 1 ? Math.min(1, MOST_SNR / snr) : Math.min(MOST_WEIGHT, 1 / snr);
}

/** A text encoder and what reads texts for it. */
export interface TextTower {
  tokenizer: CLIPTokenizer;
  encoder: CLIPTextModel;
}

/** What is trained together. */
export interface Networks {
  unet: UNet2DConditionModel;
  /** One, or Stable Diffusion XL's two. */
  texts: readonly TextTower[];
  /** Says how many pixels the latents stand for. */
  vae: Pick<AutoencoderKL, "downsampling">;
}

/** Captions as the UNet reads them, with a graph: of one encoder the last states; of two the last but one's, and a pooled text. */
async function encode(
  texts: readonly TextTower[],
  captions: readonly string[],
  device: string,
): Promise<Condition> {
  const ids = texts.map(({ tokenizer }) => {
    const rows = tokenizer.encode([...captions]);
    return Tensor.from(rows.flat(), [rows.length, TOKENS], { dtype: "int64", device });
  });
  if (texts.length === 1) return { context: await texts[0]!.encoder.forward(ids[0]!, { grad: true }) };
  const found = [];
  for (const [index, { encoder }] of texts.entries())
    found.push(await encoder.hiddenStates(ids[index]!, { grad: true }));
  const states = found.map((one) => one.states);
  return { context: Tensor.cat(states, -1), pooled: found.at(-1)!.pooled! };
}

/** ε-prediction on the latents with the captions' text (arXiv 2112.10752, eq. 3), text encoders and UNet together. */
export function diffusionStage(
  networks: Networks,
  pictures: Pictures,
  latents: Latents,
  options: {
    steps: number;
    seed: number;
    device: string;
    training: Family["training"];
    look: (step: number) => Promise<void>;
  },
): Stage {
  const { unet, texts, vae } = networks;
  const { device, seed } = options;
  const trained = {
    unet,
    ...Object.fromEntries(texts.map(({ encoder }, index) => [["text", "text2"][index]!, encoder])),
  };
  const schedule = new NoiseSchedule();
  return {
    name: "diffusion",
    steps: options.steps,
    parameters: new Map(
      Object.entries(trained).flatMap(([of, network]) =>
        network.parameterNames().map((name) => [`${of}.${name}`, network.parameter(name)] as const),
      ),
    ),
    ...options.training,
    warmup: 200,
    average: 0.999,
    async loss(step) {
      const items = Array.from({ length: BATCH }, (_, item) => {
        const random = new Random(seed).at("diffusion", step, item);
        const picture = random.at("picture").below(pictures.list.length);
        return {
          row: picture * pictures.variants + random.at("variant").below(pictures.variants),
          caption: caption(pictures.list[picture]!, random.at("caption")),
          timestep: random.at("timestep").below(schedule.length),
        };
      });
      const clean = latents.values.indexSelect(
        0,
        Tensor.from(
          items.map(({ row }) => row),
          [BATCH],
          { dtype: "int64", device },
        ),
      );
      const noise = new Random(seed).at("diffusion", step, "noise").normal(clean.shape, { device });
      const timesteps = items.map(({ timestep }) => timestep);
      const noisy = addNoise(schedule, clean, noise, timesteps);
      const captions = items.map((item) => item.caption);
      const condition = await encode(texts, captions, device);
      const batch = { latents: noisy, timesteps };
      const predicted = await predictNoise({ unet, vae, dtype: "float32" }, batch, condition, { grad: true });
      const weights = timesteps.map((timestep) => {
        const { signal, noise: share } = schedule.noising(timestep);
        return lossWeight((signal / share) ** 2);
      });
      return predicted
        .sub(noise)
        .square()
        .mul(Tensor.from(weights, [BATCH, 1, 1, 1], { device }))
        .mean();
    },
    look: (step) => scope(() => noGrad(() => options.look(step))),
  };
}

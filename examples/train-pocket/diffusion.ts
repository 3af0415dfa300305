import type { AutoencoderKL, CLIPTextModel, CLIPTokenizer, UNet2DConditionModel } from "../../lib/index";
import { addNoise, NoiseSchedule, noGrad, predictNoise, Random, scope, Tensor } from "../../lib/index";
import { caption } from "./captions";
import type { Pictures } from "./pictures";
import type { Stage } from "./training";

/** Positions of a prompt. */
export const TOKENS = 24;
const WIDTH = 128;
/** Side of the latents. */
const LATENT_SIDE = 16;
const BATCH = 24;
/** Low-noise steps, which are easy and many, weigh less from here (Min-SNR-5, arXiv 2303.09556, eq. 8 for ε-prediction). */
const MOST_SNR = 5;
/** How much more noisy steps may weigh: what is drawn, and in which style, is decided there. */
const MOST_WEIGHT = 10;

export const UNET_CONFIG = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  attention_head_dim: 4,
  block_out_channels: [48, 96, 128],
  cross_attention_dim: WIDTH,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  mid_block_type: "UNetMidBlock2DCrossAttn",
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 1,
  norm_num_groups: 16,
  sample_size: LATENT_SIDE,
};

/** The text tower of the model, and of its CLIP. */
export const TEXT_TOWER = {
  hidden_size: WIDTH,
  intermediate_size: 4 * WIDTH,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: TOKENS,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
};

/** text_encoder/config.json, without the ids, which the vocabulary decides. */
export const TEXT_CONFIG = {
  architectures: ["CLIPTextModel"],
  model_type: "clip_text_model",
  ...TEXT_TOWER,
  projection_dim: WIDTH,
  // The weights are stored in half of that; transformers 5 would compute in it beside a UNet in float32.
  torch_dtype: "float32",
};

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

/** ε-prediction on the latents with the captions' text (arXiv 2112.10752, eq. 3), text encoder and UNet together. */
export function diffusionStage(
  networks: { unet: UNet2DConditionModel; text: CLIPTextModel; tokenizer: CLIPTokenizer },
  pictures: Pictures,
  latents: Latents,
  options: { steps: number; seed: number; device: string; look: (step: number) => Promise<void> },
): Stage {
  const { unet, text, tokenizer } = networks;
  const { device, seed } = options;
  const schedule = new NoiseSchedule();
  return {
    name: "diffusion",
    steps: options.steps,
    parameters: new Map([
      ...unet.parameterNames().map((name) => [`unet.${name}`, unet.parameter(name)] as const),
      ...text.parameterNames().map((name) => [`text.${name}`, text.parameter(name)] as const),
    ]),
    learningRate: 1.5e-3,
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
      const ids = tokenizer.encode(items.map((item) => item.caption));
      const context = await text.forward(
        Tensor.from(ids.flat(), [BATCH, TOKENS], { dtype: "int64", device }),
        { grad: true },
      );
      const predicted = await predictNoise(
        { unet, dtype: "float32" },
        { latents: noisy, timesteps },
        { context },
        { grad: true },
      );
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

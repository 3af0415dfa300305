import { VAE_CONFIG } from "./autoencoder";

/** Positions of a prompt. */
export const TOKENS = 24;
/** Side of the latents. */
export const LATENT_SIDE = 16;
/** Of a token's state, all text encoders together. */
const WIDTH = 128;
const CHANNELS = [48, 96, 128];

type Config = Readonly<Record<string, unknown>>;

/** What a built-in model of a family of Stable Diffusion is made of. */
export interface Family {
  /** What text encoders and UNet are trained with. */
  training: { learningRate: number; maxGradientNorm?: number };
  /** Of the autoencoder, but for the scaling. */
  vae: Config;
  unet: Config;
  /** By its folder, a text encoder, without the ids, which the vocabulary decides. Each has a tokenizer beside it. */
  texts: Readonly<Record<string, Config>>;
  scheduler: Config;
  /** What model_index.json says beside the parts. */
  index: Config;
}

/** The text tower of a model, and of its CLIP. */
export const TEXT_TOWER = {
  hidden_size: WIDTH,
  intermediate_size: 4 * WIDTH,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: TOKENS,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
};

const text = (architecture: string, tower: Config): Config => ({
  architectures: [architecture],
  model_type: "clip_text_model",
  ...tower,
  projection_dim: tower["hidden_size"],
  // The weights are stored in half of that; transformers 5 would compute in it beside a UNet in float32.
  torch_dtype: "float32",
});

const UNET: Config = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  block_out_channels: CHANNELS,
  cross_attention_dim: WIDTH,
  mid_block_type: "UNetMidBlock2DCrossAttn",
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 1,
  norm_num_groups: 16,
  sample_size: LATENT_SIDE,
};

/** Stable Diffusion 1.4's noise schedule, which XL shares. */
const SCHEDULE: Config = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  steps_offset: 1,
  trained_betas: null,
};

const NONE = [null, null];

const SD1: Family = {
  training: { learningRate: 1.5e-3 },
  vae: VAE_CONFIG,
  unet: {
    ...UNET,
    attention_head_dim: 4,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  },
  texts: { text_encoder: text("CLIPTextModel", TEXT_TOWER) },
  scheduler: {
    ...{ _class_name: "PNDMScheduler", ...SCHEDULE },
    set_alpha_to_one: false,
    skip_prk_steps: true,
    clip_sample: false,
  },
  index: {
    _class_name: "StableDiffusionPipeline",
    feature_extractor: NONE,
    requires_safety_checker: false,
    safety_checker: NONE,
  },
};

/** Numbers that each of the six sizes is told to the UNet in. */
const SIZE_FEATURES = 16;
const HALF = { ...TEXT_TOWER, hidden_size: WIDTH / 2, intermediate_size: 2 * WIDTH };

const XL: Family = {
  // At 1.5e-3 it diverges after 900 steps.
  training: { learningRate: 8e-4, maxGradientNorm: 1 },
  vae: { ...VAE_CONFIG, force_upcast: true },
  unet: {
    ...UNET,
    addition_embed_type: "text_time",
    addition_time_embed_dim: SIZE_FEATURES,
    attention_head_dim: [4, 4, 4],
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    projection_class_embeddings_input_dim: WIDTH / 2 + 6 * SIZE_FEATURES,
    transformer_layers_per_block: [1, 1, 2],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    use_linear_projection: true,
  },
  texts: {
    text_encoder: text("CLIPTextModel", HALF),
    text_encoder_2: text("CLIPTextModelWithProjection", { ...HALF, hidden_act: "gelu" }),
  },
  scheduler: {
    ...{ _class_name: "EulerDiscreteScheduler", ...SCHEDULE },
    interpolation_type: "linear",
    prediction_type: "epsilon",
    timestep_spacing: "leading",
    use_karras_sigmas: false,
  },
  index: {
    _class_name: "StableDiffusionXLPipeline",
    feature_extractor: NONE,
    // An empty caption is encoded in training, too.
    force_zeros_for_empty_prompt: false,
    image_encoder: NONE,
  },
};

/** The families that `--family` names. */
export const FAMILIES = { sd1: SD1, xl: XL } as const;

/** model_index.json. */
export function indexOf({ texts, scheduler, index }: Omit<Family, "training">): Config {
  const parts = Object.entries(texts).flatMap(([folder, { architectures }]) => [
    [folder, ["transformers", (architectures as string[])[0]]],
    [tokenizerOf(folder), ["transformers", "CLIPTokenizer"]],
  ]);
  return {
    ...index,
    scheduler: ["diffusers", scheduler["_class_name"]],
    ...(Object.fromEntries(parts) as Config),
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
}

/** The folder of a text encoder's tokenizer. */
export function tokenizerOf(textEncoder: string): string {
  return textEncoder.replace("text_encoder", "tokenizer");
}

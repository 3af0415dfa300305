import type { Family as PocketFamily } from "../../examples/train-pocket/families";

/** A checkpoint's configurations, every field that decides a shape or what is computed. */
export interface Architecture extends Omit<PocketFamily, "training"> {
  /** What pads a text, by the tokenizer's folder. */
  readonly padding: Readonly<Record<string, string>>;
}

/** The models that people have: Stable Diffusion 1.4, 2.1 and XL base 1.0. */
export type Family = "1.4" | "2.1" | "xl";

const END = "<|endoftext|>";
const NONE = [null, null];

const levels = (first: string, others: string, count: number): string[] => [
  first,
  ...Array<string>(count - 1).fill(others),
];

const UNET = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
};
const UNET_OF_FOUR_LEVELS = {
  ...UNET,
  block_out_channels: [320, 640, 1280, 1280],
  down_block_types: levels("DownBlock2D", "CrossAttnDownBlock2D", 4).reverse(),
  up_block_types: levels("UpBlock2D", "CrossAttnUpBlock2D", 4),
};
const VAE = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(4).fill("UpDecoderBlock2D"),
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
};
const TEXT = {
  architectures: ["CLIPTextModel"],
  model_type: "clip_text_model",
  vocab_size: 49408,
  max_position_embeddings: 77,
  layer_norm_eps: 1e-5,
};
/** OpenAI's ViT-L/14. */
const CLIP_L = {
  ...TEXT,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  hidden_act: "quick_gelu",
  projection_dim: 768,
};
const SD_PIPELINE = {
  _class_name: "StableDiffusionPipeline",
  feature_extractor: NONE,
  requires_safety_checker: false,
  safety_checker: NONE,
};
const NOISE = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  steps_offset: 1,
};

export const ARCHITECTURES: Readonly<Record<Family, Architecture>> = {
  "1.4": {
    unet: { ...UNET_OF_FOUR_LEVELS, attention_head_dim: 8, cross_attention_dim: 768, sample_size: 64 },
    vae: { ...VAE, sample_size: 512, scaling_factor: 0.18215 },
    texts: { text_encoder: { ...CLIP_L, bos_token_id: 49406, eos_token_id: 49407, pad_token_id: 49407 } },
    index: SD_PIPELINE,
    scheduler: {
      ...{ _class_name: "PNDMScheduler", ...NOISE },
      ...{ clip_sample: false, set_alpha_to_one: false, skip_prk_steps: true },
    },
    padding: { tokenizer: END },
  },
  "2.1": {
    unet: {
      ...UNET_OF_FOUR_LEVELS,
      attention_head_dim: [5, 10, 20, 20],
      cross_attention_dim: 1024,
      sample_size: 96,
      upcast_attention: true,
      use_linear_projection: true,
    },
    vae: { ...VAE, sample_size: 768, scaling_factor: 0.18215 },
    texts: {
      // OpenCLIP's ViT-H/14 without its last layer.
      text_encoder: {
        ...TEXT,
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 23,
        num_attention_heads: 16,
        hidden_act: "gelu",
        projection_dim: 512,
        ...{ bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
      },
    },
    index: SD_PIPELINE,
    scheduler: {
      ...{ _class_name: "DDIMScheduler", ...NOISE },
      ...{ clip_sample: false, set_alpha_to_one: false, prediction_type: "v_prediction" },
    },
    padding: { tokenizer: "!" },
  },
  xl: {
    unet: {
      ...UNET,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      attention_head_dim: [5, 10, 20],
      block_out_channels: [320, 640, 1280],
      cross_attention_dim: 2048,
      down_block_types: levels("DownBlock2D", "CrossAttnDownBlock2D", 3),
      projection_class_embeddings_input_dim: 2816,
      sample_size: 128,
      transformer_layers_per_block: [1, 2, 10],
      up_block_types: levels("UpBlock2D", "CrossAttnUpBlock2D", 3).reverse(),
      use_linear_projection: true,
    },
    vae: { ...VAE, sample_size: 1024, scaling_factor: 0.13025, force_upcast: true },
    texts: {
      text_encoder: { ...CLIP_L, bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
      // OpenCLIP's ViT-bigG/14.
      text_encoder_2: {
        ...TEXT,
        architectures: ["CLIPTextModelWithProjection"],
        hidden_size: 1280,
        intermediate_size: 5120,
        num_hidden_layers: 32,
        num_attention_heads: 20,
        hidden_act: "gelu",
        projection_dim: 1280,
        ...{ bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
      },
    },
    index: {
      ...{ _class_name: "StableDiffusionXLPipeline", feature_extractor: NONE },
      ...{ force_zeros_for_empty_prompt: true, image_encoder: NONE },
    },
    scheduler: {
      ...{ _class_name: "EulerDiscreteScheduler", ...NOISE },
      ...{ prediction_type: "epsilon", timestep_spacing: "leading" },
    },
    padding: { tokenizer: END, tokenizer_2: "!" },
  },
};

import { KpopError } from "../errors";
import type { ComponentName, Config } from "./checkpoint-types";
import type { LdmFamily } from "./ldm-keys";

/** Shapes of one network's tensors by the original code's keys, without the network's prefix. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** What a checkpoint's config files would say. */
export interface InferredConfigs {
  unet: Config;
  vae: Config;
  textEncoder: Config;
  /** Of Stable Diffusion XL. */
  textEncoder2?: Config;
  scheduler: Config;
  /** What of model_index.json decides pictures, where it is not what the pipeline takes anyway. */
  modelIndex?: Config;
}

/** Reconstructs the configs of a model from its tensors' shapes. Heads, group counts and the noise schedule leave no trace
 *  in shapes; they are the family's, so anything of other widths is refused rather than guessed.
 *  @param shapes of a network's tensors
 *  @throws UNSUPPORTED_MODEL, INVALID_CHECKPOINT */
export function inferConfigs(
  family: LdmFamily,
  shapes: (component: ComponentName) => Shapes,
  { path, prediction }: { path: string; prediction?: "epsilon" | "v" },
): InferredConfigs {
  const text = shapes("textEncoder");
  // Stable Diffusion 2's models that predict ε are those of 512 pixels.
  const smaller = family === "sd2" && prediction === "epsilon" ? { sample_size: 64 } : {};
  return {
    unet: { ...inferUnet(shapes("unet"), family, path), ...smaller },
    vae: { ...inferVae(shapes("vae"), path), ...VAES[family] },
    textEncoder: family === "sd2" ? inferOpenClip(text, 23, path) : inferText(text, path),
    ...(family === "xl" ? { textEncoder2: inferOpenClip(shapes("textEncoder2"), Infinity, path) } : {}),
    scheduler: SCHEDULERS[family],
  };
}

/** What an autoencoder of a family has otherwise than Stable Diffusion 1's. */
const VAES: Readonly<Record<LdmFamily, Config>> = {
  sd1: {},
  sd2: { sample_size: 768 },
  xl: { force_upcast: true, sample_size: 1024, scaling_factor: 0.13025 },
};

/** SD-1.4's scheduler_config.json. */
const SD1_SCHEDULER: Config = {
  _class_name: "PNDMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  trained_betas: null,
  clip_sample: false,
};

/** Stable Diffusion 2's and XL's, as diffusers publishes them. */
const SD2_SCHEDULER: Config = {
  _class_name: "DDIMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  steps_offset: 1,
  trained_betas: null,
  clip_sample: false,
};
const XL_SCHEDULER: Config = {
  _class_name: "EulerDiscreteScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  steps_offset: 1,
  timestep_spacing: "leading",
  trained_betas: null,
};
const SCHEDULERS: Readonly<Record<LdmFamily, Config>> = {
  sd1: SD1_SCHEDULER,
  sd2: SD2_SCHEDULER,
  xl: XL_SCHEDULER,
};

/** What tells a family's UNet, and its config has beside what shapes say. */
const UNETS: Readonly<
  Record<LdmFamily, { name: string; width: number; context: number; projection: 2 | 4; config: Config }>
> = {
  sd1: {
    name: "SD-1.x",
    width: 320,
    context: 768,
    projection: 4,
    config: { attention_head_dim: 8, sample_size: 64 },
  },
  sd2: {
    ...{ name: "SD-2.x", width: 320, context: 1024, projection: 2 },
    config: {
      ...{ attention_head_dim: [5, 10, 20, 20], sample_size: 96 },
      ...{ upcast_attention: true, use_linear_projection: true },
    },
  },
  xl: {
    ...{ name: "SDXL", width: 320, context: 2048, projection: 2 },
    config: {
      ...{ attention_head_dim: [5, 10, 20], sample_size: 128, use_linear_projection: true },
      ...{ addition_embed_type: "text_time", addition_time_embed_dim: 256 },
    },
  },
};

function inferUnet(shapes: Shapes, family: LdmFamily, path: string): Config {
  const input = dims(shapes, "input_blocks.0.0.weight", path);
  const levels: { channels: number; layers: number; attention: boolean; depth: number }[] = [];
  let contextDim: number | undefined;
  let open = false;
  let number = 1;
  for (; ; number++) {
    if (shapes.has(`input_blocks.${number}.0.op.weight`)) {
      open = false;
      continue;
    }
    const resnet = shapes.get(`input_blocks.${number}.0.in_layers.2.weight`);
    if (resnet === undefined) break;
    const context = shapes.get(`input_blocks.${number}.1.transformer_blocks.0.attn2.to_k.weight`);
    contextDim ??= context?.[1];
    let depth = 0;
    while (shapes.has(`input_blocks.${number}.1.transformer_blocks.${depth}.norm1.weight`)) depth++;
    if (!open) levels.push({ channels: resnet[0]!, layers: 0, attention: context !== undefined, depth });
    if (levels.at(-1)!.depth !== depth) {
      throw new KpopError(
        "UNSUPPORTED_MODEL",
        `${path}: the layers of a level differ in their transformers' depth`,
      );
    }
    open = true;
    levels.at(-1)!.layers++;
  }
  const later = [...shapes.keys()].some((key) => Number(/^input_blocks\.(\d+)\./.exec(key)?.[1]) > number);
  if (later) {
    throw new KpopError("INVALID_CHECKPOINT", `${path} lacks input_blocks.${number}, but has later ones`);
  }
  const layers = levels[0]?.layers;
  if (levels.some((level) => level.layers !== layers)) {
    throw new KpopError("UNSUPPORTED_MODEL", `${path}: the UNet's levels differ in their number of layers`);
  }
  const { name, width, context: wanted, projection: form, config } = UNETS[family];
  const attending = [...shapes].find(([key]) => key.endsWith(".1.proj_in.weight"))?.[1];
  if (input[0] !== width || contextDim !== wanted || attending?.length !== form) {
    throw new KpopError(
      "UNSUPPORTED_MODEL",
      `${path} is no ${name} model (UNet width ${input[0]}, context ${contextDim ?? "none"}) and carries no kpop.config; ` +
        "shapes alone do not tell its attention heads: load it as a diffusers folder",
    );
  }
  const pooled = shapes.get("label_emb.0.0.weight")?.[1];
  const found: Config = {
    _class_name: "UNet2DConditionModel",
    act_fn: "silu",
    block_out_channels: levels.map(({ channels }) => channels),
    center_input_sample: false,
    cross_attention_dim: contextDim,
    down_block_types: levels.map(({ attention }) => (attention ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    downsample_padding: 1,
    flip_sin_to_cos: true,
    freq_shift: 0,
    in_channels: input[1],
    layers_per_block: layers,
    mid_block_scale_factor: 1,
    norm_eps: 1e-5,
    norm_num_groups: 32,
    out_channels: dims(shapes, "out.2.weight", path)[0],
    up_block_types: levels.map(({ attention }) => (attention ? "CrossAttnUpBlock2D" : "UpBlock2D")).reverse(),
    ...(family === "sd1"
      ? {}
      : { transformer_layers_per_block: levels.map(({ depth }) => Math.max(depth, 1)) }),
    ...(pooled === undefined ? {} : { projection_class_embeddings_input_dim: pooled }),
    ...config,
  };
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function inferVae(shapes: Shapes, path: string): Config {
  const channels: number[] = [];
  for (let level = 0; ; level++) {
    const resnet = shapes.get(`encoder.down.${level}.block.0.conv1.weight`);
    if (resnet === undefined) break;
    channels.push(resnet[0]!);
  }
  let layers = 0;
  while (shapes.has(`encoder.down.0.block.${layers}.conv1.weight`)) layers++;
  return {
    _class_name: "AutoencoderKL",
    act_fn: "silu",
    block_out_channels: channels,
    down_block_types: channels.map(() => "DownEncoderBlock2D"),
    in_channels: dims(shapes, "encoder.conv_in.weight", path)[1],
    latent_channels: dims(shapes, "decoder.conv_in.weight", path)[1],
    layers_per_block: layers,
    norm_num_groups: 32,
    out_channels: dims(shapes, "decoder.conv_out.weight", path)[0],
    sample_size: 512,
    scaling_factor: 0.18215,
    up_block_types: channels.map(() => "UpDecoderBlock2D"),
  };
}

function inferText(shapes: Shapes, path: string): Config {
  const [vocabulary, width] = dims(shapes, "text_model.embeddings.token_embedding.weight", path);
  let layers = 0;
  while (shapes.has(`text_model.encoder.layers.${layers}.layer_norm1.weight`)) layers++;
  return {
    architectures: ["CLIPTextModel"],
    bos_token_id: 49406,
    eos_token_id: 49407,
    hidden_act: "quick_gelu",
    hidden_size: width,
    intermediate_size: dims(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", path)[0],
    layer_norm_eps: 1e-5,
    max_position_embeddings: dims(shapes, "text_model.embeddings.position_embedding.weight", path)[0],
    model_type: "clip_text_model",
    num_attention_heads: 12,
    num_hidden_layers: layers,
    pad_token_id: 1,
    projection_dim: 768,
    vocab_size: vocabulary,
  };
}

/** An OpenCLIP text encoder. Heads are 64 wide in all that are published. @param most layers that the network takes */
function inferOpenClip(shapes: Shapes, most: number, path: string): Config {
  const [vocabulary, width] = dims(shapes, "token_embedding.weight", path);
  let layers = 0;
  while (shapes.has(`transformer.resblocks.${layers}.ln_1.weight`)) layers++;
  const projects = most === Infinity;
  return {
    architectures: [projects ? "CLIPTextModelWithProjection" : "CLIPTextModel"],
    bos_token_id: 0,
    eos_token_id: 2,
    hidden_act: "gelu",
    hidden_size: width,
    intermediate_size: dims(shapes, "transformer.resblocks.0.mlp.c_fc.weight", path)[0],
    layer_norm_eps: 1e-5,
    max_position_embeddings: dims(shapes, "positional_embedding", path)[0],
    model_type: "clip_text_model",
    num_attention_heads: width! / 64,
    num_hidden_layers: Math.min(layers, most),
    pad_token_id: 1,
    projection_dim: shapes.get("text_projection")?.[1] ?? 512,
    vocab_size: vocabulary,
  };
}

function dims(shapes: Shapes, key: string, path: string): readonly number[] {
  const shape = shapes.get(key);
  if (shape !== undefined) return shape;
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `${path} lacks the tensor ${key}, without which it is no Stable Diffusion model`,
  );
}

import { KpopError } from "../errors";
import type { Config } from "./checkpoint-types";

/** Shapes of one network's tensors by the original code's keys, without the network's prefix. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** What a checkpoint's config files would say. */
export interface InferredConfigs {
  unet: Config;
  vae: Config;
  textEncoder: Config;
  scheduler: Config;
}

/** Reconstructs the configs of an SD-1.x model from its tensors' shapes. Heads, group counts and the noise schedule
 *  leave no trace in shapes; they are SD-1's, so anything of other widths is refused rather than guessed.
 *  @throws UNSUPPORTED_MODEL, INVALID_CHECKPOINT */
export function inferConfigs(unet: Shapes, vae: Shapes, text: Shapes, path: string): InferredConfigs {
  return {
    unet: inferUnet(unet, path),
    vae: inferVae(vae, path),
    textEncoder: inferText(text, path),
    scheduler: SD1_SCHEDULER,
  };
}

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

function inferUnet(shapes: Shapes, path: string): Config {
  const input = dims(shapes, "input_blocks.0.0.weight", path);
  const levels: { channels: number; layers: number; attention: boolean }[] = [];
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
    if (!open) levels.push({ channels: resnet[0]!, layers: 0, attention: context !== undefined });
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
  const projection = shapes.get("input_blocks.1.1.proj_in.weight");
  if (input[0] !== 320 || contextDim !== 768 || projection?.length !== 4) {
    throw new KpopError(
      "UNSUPPORTED_MODEL",
      `${path} is no SD-1.x model (UNet width ${input[0]}, context ${contextDim ?? "none"}) and carries no kpop.config; ` +
        "shapes alone do not tell its attention heads: load it as a diffusers folder",
    );
  }
  return {
    _class_name: "UNet2DConditionModel",
    act_fn: "silu",
    attention_head_dim: 8,
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
    sample_size: 64,
    up_block_types: levels.map(({ attention }) => (attention ? "CrossAttnUpBlock2D" : "UpBlock2D")).reverse(),
  };
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

function dims(shapes: Shapes, key: string, path: string): readonly number[] {
  const shape = shapes.get(key);
  if (shape !== undefined) return shape;
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `${path} lacks the tensor ${key}, without which it is no SD-1.x model`,
  );
}

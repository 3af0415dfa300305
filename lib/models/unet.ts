import { finite, invalid, knownKeys, oneOf } from "../check";
import { KpopError } from "../errors";
import { Tensor } from "../runtime/tensor";
import { addon } from "../runtime/binding";
import {
  boolean,
  fixed,
  ignored,
  integers,
  number,
  perLevel,
  positiveInteger,
  positiveNumber,
  readConfig,
  text,
  texts,
} from "./config";
import { Module } from "./module";

/** diffusers' configuration of the network; the defaults are Stable Diffusion 1.4's. */
export interface UNetConfig {
  in_channels: number;
  out_channels: number;
  center_input_sample: boolean;
  flip_sin_to_cos: boolean;
  freq_shift: number;
  down_block_types: string[];
  mid_block_type: string;
  up_block_types: string[];
  only_cross_attention: boolean;
  block_out_channels: number[];
  /** One number for all levels, or one for each. */
  layers_per_block: number[];
  downsample_padding: number;
  mid_block_scale_factor: number;
  act_fn: string;
  norm_num_groups: number;
  norm_eps: number;
  cross_attention_dim: number;
  transformer_layers_per_block: number[];
  /** Despite its name the number of heads, as in every SD-1.x checkpoint. */
  attention_head_dim: number[];
  num_attention_heads: number[];
  use_linear_projection: boolean;
  upcast_attention: boolean;
}

const defaults: Readonly<UNetConfig> = Object.freeze({
  in_channels: 4,
  out_channels: 4,
  center_input_sample: false,
  flip_sin_to_cos: true,
  freq_shift: 0,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  mid_block_type: "UNetMidBlock2DCrossAttn",
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  only_cross_attention: false,
  block_out_channels: [320, 640, 1280, 1280],
  layers_per_block: [2],
  downsample_padding: 1,
  mid_block_scale_factor: 1,
  act_fn: "silu",
  norm_num_groups: 32,
  norm_eps: 1e-5,
  cross_attention_dim: 1280,
  transformer_layers_per_block: [1],
  attention_head_dim: [8],
  num_attention_heads: [],
  use_linear_projection: false,
  upcast_attention: false,
});

const rules = {
  in_channels: positiveInteger,
  out_channels: positiveInteger,
  center_input_sample: boolean,
  flip_sin_to_cos: boolean,
  freq_shift: number,
  down_block_types: texts("CrossAttnDownBlock2D", "DownBlock2D"),
  mid_block_type: text("UNetMidBlock2DCrossAttn"),
  up_block_types: texts("UpBlock2D", "CrossAttnUpBlock2D"),
  only_cross_attention: fixed(false),
  block_out_channels: integers,
  layers_per_block: perLevel,
  downsample_padding: positiveInteger,
  mid_block_scale_factor: number,
  act_fn: text("silu", "swish", "gelu", "relu"),
  norm_num_groups: positiveInteger,
  norm_eps: positiveNumber,
  cross_attention_dim: positiveInteger,
  transformer_layers_per_block: perLevel,
  attention_head_dim: perLevel,
  num_attention_heads: perLevel,
  use_linear_projection: boolean,
  upcast_attention: boolean,
  sample_size: ignored,
  dropout: fixed(0),
  addition_embed_type: fixed(),
  addition_embed_type_num_heads: ignored,
  addition_time_embed_dim: fixed(),
  attention_type: fixed("default"),
  class_embed_type: fixed(),
  class_embeddings_concat: fixed(false),
  conv_in_kernel: fixed(3),
  conv_out_kernel: fixed(3),
  cross_attention_norm: fixed(),
  dual_cross_attention: fixed(false),
  encoder_hid_dim: fixed(),
  encoder_hid_dim_type: fixed(),
  mid_block_only_cross_attention: fixed(false),
  num_class_embeds: fixed(),
  projection_class_embeddings_input_dim: fixed(),
  resnet_out_scale_factor: fixed(1),
  resnet_skip_time_act: fixed(false),
  resnet_time_scale_shift: fixed("default"),
  reverse_transformer_layers_per_block: fixed(),
  time_cond_proj_dim: fixed(),
  time_embedding_act_fn: fixed(),
  time_embedding_dim: fixed(),
  time_embedding_type: fixed("positional"),
  timestep_post_act: fixed(),
} as const;

/** Which attn2 layers take a learned prompt: the middle block's, those and the up blocks', all, or these modules. */
export type PromptLayers = "mid" | "mid-up" | "all" | string[];

/** How a learned prompt enters: as further rows of the context, or added to it (KPOP, arXiv 2403.12326, §3.3). */
export type PromptMechanism = "concat" | "additive";

/** What a forward takes beside its inputs. */
export interface UNetForwardOptions {
  /** Learned prompt. concat: (k, d) or (B, k, d), appended after the text rows. additive: (L, d) or (B, L, d). */
  prompt?: Tensor;
  /** Default "concat". */
  mechanism?: PromptMechanism;
  /** Default "mid". */
  layers?: PromptLayers;
  /** Whether to record a graph for `backward()`. Default false. */
  grad?: boolean;
}

/** The noise predictor of Stable Diffusion 1.x (arXiv 2112.10752). */
export class UNet2DConditionModel extends Module<UNetConfig> {
  private attention: readonly string[] | undefined;

  /** A network without weights. @param raw diffusers' config.json @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>>, what = "unet/config.json") {
    const config = readConfig(what, raw, defaults, rules);
    for (const name of [
      "layers_per_block",
      "transformer_layers_per_block",
      "attention_head_dim",
      "num_attention_heads",
    ] as const) {
      if (!Array.isArray(config[name])) config[name] = [config[name]];
    }
    super("unet", config, what);
  }

  /**
   * Predicts the noise in `sample`.
   * @param sample (B, in_channels, h, w); its dtype is the compute dtype
   * @param timestep one number, or one per item: >= 0, and below the noise schedule's length to mean anything
   * @param context (B, L, cross_attention_dim)
   * @returns (B, out_channels, h, w)
   * @throws INVALID_ARGUMENT when a shape does not fit or a layer is unknown
   */
  async forward(
    sample: Tensor,
    timestep: number | readonly number[],
    context: Tensor,
    options: UNetForwardOptions = {},
  ): Promise<Tensor> {
    knownKeys("the forward options", options, ["prompt", "mechanism", "layers", "grad"]);
    const batch = sample.shape[0] ?? 0;
    const timesteps = typeof timestep === "number" ? Array<number>(batch).fill(timestep) : [...timestep];
    if (timesteps.length !== batch) throw invalid("timestep", `one number or ${batch} of them`, timestep);
    for (const value of timesteps) finite("timestep", value, 0);
    const prompt =
      options.prompt === undefined
        ? null
        : {
            value: options.prompt.native,
            mechanism: oneOf("mechanism", options.mechanism ?? "concat", ["concat", "additive"] as const),
            layers: this.promptLayers(options.layers ?? "mid"),
          };
    return new Tensor(
      await addon().unetForward(
        this.native,
        sample.native,
        timesteps,
        context.native,
        prompt,
        options.grad ?? false,
      ),
    );
  }

  /** Full names of the cross-attention modules (attn2), in forward order. */
  crossAttentionNames(): readonly string[] {
    this.attention ??= Object.freeze(this.native.crossAttentionNames());
    return this.attention;
  }

  /** The attn2 modules that a choice of layers stands for. @throws INVALID_ARGUMENT when a name is none of them */
  promptLayers(layers: PromptLayers): string[] {
    const names = this.crossAttentionNames();
    if (layers === "all") return [...names];
    if (layers === "mid") return names.filter((name) => name.startsWith("mid_block."));
    if (layers === "mid-up") return names.filter((name) => !name.startsWith("down_blocks."));
    if (!Array.isArray(layers) || layers.length === 0) {
      throw invalid("prompt.layers", `"mid", "mid-up", "all" or a list of module names`, layers);
    }
    for (const name of layers) {
      if (!names.includes(name)) {
        throw new KpopError(
          "INVALID_ARGUMENT",
          `Expected prompt.layers to name cross-attention modules but received "${name}"; the network has ${names.join(", ")}`,
        );
      }
    }
    return [...layers];
  }

  /** A network that shares every weight with this one, except for copies of `own`. */
  async share(own: ReadonlySet<string> = new Set(), ownDtype?: "float32"): Promise<UNet2DConditionModel> {
    const { num_attention_heads, ...config } = this.config;
    const heads = num_attention_heads.length === 0 ? {} : { num_attention_heads };
    const copy = new UNet2DConditionModel({ ...config, ...heads });
    await this.shareInto(copy, own, ownDtype);
    return copy;
  }
}

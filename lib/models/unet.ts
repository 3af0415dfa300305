import { finite, invalid, oneOf } from "../check";
import { KpopError } from "../errors";
import { addon, type NativeTensor, type NativeUNetForward } from "../runtime/binding";
import { checkTensor, Tensor } from "../runtime/tensor";
import {
  boolean,
  count,
  fixed,
  ignored,
  MAX_LAYERS,
  layersPerLevel,
  levels,
  number,
  perLevel,
  positiveInteger,
  positiveNumber,
  readConfig,
  text,
  texts,
} from "./config";
import { Module } from "./module";
import {
  checkActivationOptions,
  checkForwardOptions,
  checkTapNames,
  followTaps,
  type PromptLayers,
  type UNetActivationOptions,
  type UNetForwardOptions,
} from "./unet-forward";

export type {
  AddedConditions,
  PromptLayers,
  PromptMechanism,
  Tap,
  UNetActivationOptions,
  UNetForwardOptions,
} from "./unet-forward";

/** diffusers' configuration of the network; the defaults are diffusers' own, for fields that a file leaves out. */
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
  /** "text_time": the network takes a pooled text and sizes, as Stable Diffusion XL's does. "": nothing. */
  addition_embed_type: "text_time" | "";
  /** Of text_time: features that each number of the sizes has. */
  addition_time_embed_dim: number;
  /** Of text_time: width of the pooled text and of all those features together. */
  projection_class_embeddings_input_dim: number;
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
  addition_embed_type: "",
  addition_time_embed_dim: 0,
  projection_class_embeddings_input_dim: 0,
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
  block_out_channels: levels,
  layers_per_block: layersPerLevel,
  downsample_padding: positiveInteger,
  mid_block_scale_factor: number,
  act_fn: text("silu", "swish", "gelu", "relu"),
  norm_num_groups: positiveInteger,
  norm_eps: positiveNumber,
  cross_attention_dim: positiveInteger,
  transformer_layers_per_block: layersPerLevel,
  attention_head_dim: perLevel,
  num_attention_heads: perLevel,
  use_linear_projection: boolean,
  upcast_attention: boolean,
  sample_size: ignored,
  dropout: fixed(0),
  addition_embed_type: text("text_time", ""),
  addition_embed_type_num_heads: ignored,
  addition_time_embed_dim: count,
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
  projection_class_embeddings_input_dim: count,
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

/** Building is done before the file's tensors are looked at, so a number that no file can hold is refused here. */
function checkBlockCount(config: UNetConfig, what: string): void {
  const { block_out_channels, layers_per_block, transformer_layers_per_block } = config;
  const at = (list: readonly number[], level: number): number => list[list.length === 1 ? 0 : level] ?? 0;
  const blocks = block_out_channels.reduce(
    (sum, _, level) => sum + at(layers_per_block, level) * (1 + at(transformer_layers_per_block, level)),
    0,
  );
  if (blocks <= MAX_LAYERS) return;
  throw new KpopError(
    "UNSUPPORTED_MODEL",
    `${what}: "layers_per_block" and "transformer_layers_per_block" make ${blocks} blocks, and at most ${MAX_LAYERS} are supported`,
  );
}

/** The noise predictor of Stable Diffusion 1.x, 2.x and XL (arXiv 2112.10752). */
export class UNet2DConditionModel extends Module<UNetConfig> {
  private attention: readonly string[] | undefined;
  private taps: readonly string[] | undefined;
  private last: Promise<unknown> = Promise.resolve();

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
    checkBlockCount(config, what);
    super("unet", config, what);
  }

  /**
   * Predicts the noise in `sample`. What is queued ahead is one forward: the tensor can be used at once, and the promise
   * waits until the network's forward before it has been computed. A mistake in the arguments rejects the promise; what
   * fails later, no memory say, rejects what reads the tensor.
   * @param sample (B, in_channels, h, w); its dtype is the compute dtype
   * @param timestep one number, or one per item: >= 0, and below the noise schedule's length to mean anything
   * @param context (B, L, cross_attention_dim). Of a network whose `addition_embed_type` is "" also (n·B, L, …): all items
   *   under the first B texts, then all under the next, and so on; what comes before the first cross-attention is computed
   *   once for them, and its taps see B items
   * @returns (B, out_channels, h, w), or (n·B, …)
   * @throws INVALID_ARGUMENT when a shape does not fit, or a layer, tap or parameter is unknown
   */
  async forward(
    sample: Tensor,
    timestep: number | readonly number[],
    context: Tensor,
    options: UNetForwardOptions = {},
  ): Promise<Tensor> {
    checkForwardOptions(options);
    const taps = new Map(Object.entries(options.taps ?? {}));
    const run = this.start(sample, timestep, context, options, [...taps.keys()]);
    const output = new Tensor(run.output);
    if (run.next !== null) await followTaps(run, taps, options.grad ?? false, true);
    else await this.turn(run.output);
    return output;
  }

  /**
   * The outputs of modules, by names of `tapNames()`. The forward goes no further than the last of them.
   * @returns in the order of the forward. Outputs of blocks are (B, C, h', w'), those inside of transformers (B, N, C)
   * @throws INVALID_ARGUMENT as `forward`
   */
  async activations(
    sample: Tensor,
    timestep: number | readonly number[],
    context: Tensor,
    names: readonly string[],
    options: UNetActivationOptions = {},
  ): Promise<Map<string, Tensor>> {
    checkActivationOptions(options);
    if (names.length === 0) throw invalid("names", "at least one module's name", names);
    const found = new Map<string, Tensor>();
    const taps = new Map(names.map((name) => [name, (output: Tensor) => void found.set(name, output)]));
    const run = this.start(sample, timestep, context, options, [...taps.keys()]);
    await followTaps(run, taps, options.grad ?? false, false);
    return found;
  }

  /** Lets one forward be queued behind the one that runs: more would only be harder to cancel, and hold memory. */
  private async turn(output: NativeTensor): Promise<void> {
    const before = this.last;
    this.last = addon()
      .settle(output)
      .catch(() => undefined);
    await before;
  }

  /** Queues a forward, or prepares one with stops. */
  private start(
    sample: Tensor,
    timestep: number | readonly number[],
    context: Tensor,
    options: UNetActivationOptions,
    stops: readonly string[],
  ): NativeUNetForward {
    checkTensor("sample", sample);
    checkTensor("context", context);
    const isList: boolean = Array.isArray(timestep);
    if (typeof timestep !== "number" && !isList)
      throw invalid("timestep", "a number or a list of them", timestep);
    const batch = sample.shape[0] ?? 0;
    const timesteps = typeof timestep === "number" ? Array<number>(batch).fill(timestep) : [...timestep];
    if (timesteps.length !== batch) throw invalid("timestep", `one number or ${batch} of them`, timestep);
    for (const value of timesteps) finite("timestep", value, 0);
    checkTapNames(stops, this.tapNames());
    const {
      added,
      prompt,
      mechanism = "concat",
      layers = "mid",
      grad = false,
      parameters = new Map<string, Tensor>(),
    } = options;
    const injected = {
      mechanism: oneOf("mechanism", mechanism, ["concat", "additive"] as const),
      layers: this.promptLayers(layers),
    };
    const given = prompt === undefined ? null : { value: prompt.native, ...injected };
    const run = addon().unetForward(
      this.native,
      sample.native,
      timesteps,
      context.native,
      {
        prompt: given,
        added:
          added === undefined ? null : { pooled: added.pooled.native, timeIds: added.timeIds.native },
        grad,
        parameterNames: [...parameters.keys()],
        parameterValues: [...parameters.values()].map((tensor) => tensor.native),
      },
      [...stops],
    );
    this.requireWeights(parameters);
    return run;
  }

  /**
   * What `taps` and `activations` can name, in the order of the forward: modules by diffusers' names, from "conv_in"
   * through "down_blocks.0.resnets.0" and "….transformer_blocks.0.ff.net.0" to "conv_out"; "skips.0" and so on, what the
   * down path leaves for the up path, which alone goes on with a replacement; and "….attn2.probabilities", the weights
   * of an attention after the softmax, (B, heads, N, L). To be shown these changes no bit of the output.
   */
  tapNames(): readonly string[] {
    this.taps ??= Object.freeze(this.native.tapNames());
    return this.taps;
  }

  /** Whether all these taps come when items have met their texts: at the first cross-attention, or behind it. */
  seeTexts(taps: readonly string[]): boolean {
    const names = this.tapNames();
    const first = names.findIndex((name) => name.includes(".attn2"));
    return taps.every((name) => names.indexOf(name) >= first);
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

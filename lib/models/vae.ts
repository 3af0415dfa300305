import { addon } from "../runtime/binding";
import { checkTensor, Tensor } from "../runtime/tensor";
import {
  boolean,
  fixed,
  ignored,
  layerCount,
  levels,
  positiveInteger,
  positiveNumber,
  readConfig,
  text,
  texts,
} from "./config";
import { Module } from "./module";

/** diffusers' configuration of the autoencoder; the defaults are diffusers' own. */
export interface AutoencoderKLConfig {
  in_channels: number;
  out_channels: number;
  latent_channels: number;
  down_block_types: string[];
  up_block_types: string[];
  block_out_channels: number[];
  layers_per_block: number;
  act_fn: string;
  norm_num_groups: number;
  use_quant_conv: boolean;
  use_post_quant_conv: boolean;
  mid_block_add_attention: boolean;
  /** What latents are multiplied by before diffusion. */
  scaling_factor: number;
  /** Whether float16 inputs are computed in float32: the activations of some autoencoders, SDXL's, pass what float16 holds. */
  force_upcast: boolean;
}

const defaults: Readonly<AutoencoderKLConfig> = Object.freeze({
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  down_block_types: ["DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D"],
  block_out_channels: [64],
  layers_per_block: 1,
  act_fn: "silu",
  norm_num_groups: 32,
  use_quant_conv: true,
  use_post_quant_conv: true,
  mid_block_add_attention: true,
  scaling_factor: 0.18215,
  force_upcast: true,
});

const rules = {
  in_channels: positiveInteger,
  out_channels: positiveInteger,
  latent_channels: positiveInteger,
  down_block_types: texts("DownEncoderBlock2D"),
  up_block_types: texts("UpDecoderBlock2D"),
  block_out_channels: levels,
  layers_per_block: layerCount,
  act_fn: text("silu", "swish", "gelu", "relu"),
  norm_num_groups: positiveInteger,
  use_quant_conv: boolean,
  use_post_quant_conv: boolean,
  mid_block_add_attention: boolean,
  scaling_factor: positiveNumber,
  shift_factor: fixed(),
  latents_mean: fixed(),
  latents_std: fixed(),
  force_upcast: boolean,
  sample_size: ignored,
} as const;

/**
 * The autoencoder between images and latents (arXiv 2112.10752, §3.1).
 *
 * float16 inputs are computed in float32, and the result is float32, unless the config says `force_upcast` false. That is
 * so where the config says nothing, too: diffusers' pipeline of Stable Diffusion 1.x then stays in float16, but a picture
 * is decoded once, after a hundred passes of the UNet, and one that became NaN is lost.
 */
export class AutoencoderKL extends Module<AutoencoderKLConfig> {
  /** A network without weights. @param raw diffusers' config.json @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>>, what = "vae/config.json") {
    super("vae", readConfig(what, raw, defaults, rules), what);
  }

  /** Image pixels per latent element, along one side. */
  get downsampling(): number {
    return 2 ** (this.config.block_out_channels.length - 1);
  }

  /**
   * @param image (B, 3, H, W) in [-1, 1]; its dtype is the compute dtype, but for `force_upcast`
   * @returns mean and log-variance of the latents, (B, latent_channels, h, w) each, not multiplied by the scaling factor
   */
  async encode(image: Tensor, options: { grad?: boolean } = {}): Promise<{ mean: Tensor; logvar: Tensor }> {
    const [mean, logvar] = await this.computed(image, ({ native }) =>
      addon().vaeEncode(this.native, native, options.grad ?? false),
    );
    return { mean: new Tensor(mean), logvar: new Tensor(logvar) };
  }

  /**
   * @param latents (B, latent_channels, h, w), divided by the scaling factor; their dtype is the compute dtype, but for
   *   `force_upcast`
   * @returns (B, 3, H, W), about [-1, 1], not clamped
   */
  async decode(latents: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    return new Tensor(
      await this.computed(latents, ({ native }) =>
        addon().vaeDecode(this.native, native, options.grad ?? false),
      ),
    );
  }

  /** A network that shares every weight with this one. */
  async share(): Promise<AutoencoderKL> {
    const copy = new AutoencoderKL({ ...this.config });
    await this.shareInto(copy, new Set());
    return copy;
  }

  /** Runs a forward on its input in the dtype that it is to be computed in. */
  private async computed<T>(input: Tensor, forward: (input: Tensor) => Promise<T>): Promise<T> {
    checkTensor("the autoencoder's input", input);
    if (!this.config.force_upcast || input.dtype !== "float16") return forward(input);
    const wide = input.to("float32");
    try {
      return await forward(wide);
    } finally {
      wide.dispose();
    }
  }
}

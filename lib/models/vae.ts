import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import {
  boolean,
  fixed,
  ignored,
  layerCount,
  levels,
  number,
  positiveInteger,
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
  scaling_factor: number,
  shift_factor: fixed(),
  latents_mean: fixed(),
  latents_std: fixed(),
  force_upcast: ignored,
  sample_size: ignored,
} as const;

/** The autoencoder between images and latents (arXiv 2112.10752, §3.1). */
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
   * @param image (B, 3, H, W) in [-1, 1]
   * @returns mean and log-variance of the latents, (B, latent_channels, h, w) each, not multiplied by the scaling factor
   */
  async encode(image: Tensor, options: { grad?: boolean } = {}): Promise<{ mean: Tensor; logvar: Tensor }> {
    const [mean, logvar] = await addon().vaeEncode(this.native, image.native, options.grad ?? false);
    return { mean: new Tensor(mean), logvar: new Tensor(logvar) };
  }

  /**
   * @param latents (B, latent_channels, h, w), divided by the scaling factor
   * @returns (B, 3, H, W), about [-1, 1], not clamped
   */
  async decode(latents: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    return new Tensor(await addon().vaeDecode(this.native, latents.native, options.grad ?? false));
  }

  /** A network that shares every weight with this one. */
  async share(): Promise<AutoencoderKL> {
    const copy = new AutoencoderKL({ ...this.config });
    await this.shareInto(copy, new Set());
    return copy;
  }
}

import { initialise } from "../../examples/train-pocket/initial-weights";
import { predictNoise, type Random, safetensors, Tensor, UNet2DConditionModel } from "../../lib/index";
import { CLASSES, SIDE } from "./dataset";

/** Length of a class's embedding. */
export const WIDTH = 32;
/** The row of the embedding that stands for no class. */
export const NO_CLASS = CLASSES;

const CONFIG = {
  sample_size: SIDE,
  in_channels: 1,
  out_channels: 1,
  // Attention at 4×4 alone: at 8×8 it would take most of the time.
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  block_out_channels: [32, 32],
  layers_per_block: 1,
  norm_num_groups: 8,
  cross_attention_dim: WIDTH,
  attention_head_dim: 1,
};

const EMBEDDINGS = "embeddings";

/** A denoiser of 8×8 pixels whose only context row is the learned embedding of a class. */
export class DigitModel {
  private constructor(
    readonly unet: UNet2DConditionModel,
    /** (11, 32): a row for each digit, then one for no class. */
    readonly embeddings: Tensor,
  ) {}

  /** An untrained one. */
  static async create(random: Random): Promise<DigitModel> {
    const unet = new UNet2DConditionModel(CONFIG, "the digits' UNet");
    await initialise(unet, random.at("unet"), "cpu");
    await unet.useFastestLayout();
    return new DigitModel(unet, random.at(EMBEDDINGS).normal([CLASSES + 1, WIDTH]));
  }

  /** One that `save` has written. */
  static async load(path: string): Promise<DigitModel> {
    const tensors = await safetensors.load(path);
    const embeddings = tensors.get(EMBEDDINGS)!;
    tensors.delete(EMBEDDINGS);
    const unet = new UNet2DConditionModel(CONFIG, "the digits' UNet");
    await unet.assign(tensors);
    await unet.useFastestLayout();
    return new DigitModel(unet, embeddings);
  }

  async save(path: string): Promise<void> {
    await safetensors.save(path, new Map([...this.weights(), [EMBEDDINGS, this.embeddings]]));
  }

  /** The UNet's weights by name; the embeddings are not among them. */
  weights(): Map<string, Tensor> {
    return new Map(this.unet.parameterNames().map((name) => [name, this.unet.parameter(name)]));
  }

  /** A model with weights of its own and the same embeddings: what erasing changes is the UNet. */
  async copy(): Promise<DigitModel> {
    return new DigitModel(await this.unet.share(new Set(this.unet.parameterNames())), this.embeddings);
  }

  /** The embeddings of classes, (B, 32). @param classes digits, or NO_CLASS */
  embed(classes: readonly number[]): Tensor {
    return this.embeddings.indexSelect(0, Tensor.from([...classes], [classes.length], { dtype: "int64" }));
  }

  /** The noise in z_t. @param noisy (B, 1, 8, 8)   @param embeddings (B, 32)   @returns (B, 1, 8, 8) */
  async predict(
    noisy: Tensor,
    timesteps: number | readonly number[],
    embeddings: Tensor,
    options: { grad?: boolean } = {},
  ): Promise<Tensor> {
    const condition = { context: embeddings.unsqueeze(1) };
    return predictNoise(
      { unet: this.unet, dtype: "float32" },
      { latents: noisy, timesteps },
      condition,
      options,
    );
  }

  /** Frees the UNet; the embeddings may be another's too, and go with the scope that they were made in. */
  [Symbol.dispose](): void {
    this.unet.dispose();
  }
}

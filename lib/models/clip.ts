import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { readCLIPConfig, type CLIPConfig } from "./clip-config";
import { Module } from "./module";
import { checkTokenIds } from "./token-ids";

/**
 * CLIP: a text and a vision tower that project into one space, where the cosine of a text and a picture says how well
 * they fit (arXiv 2103.00020). Parameter keys are those of transformers' CLIPModel.
 */
export class CLIPModel extends Module<CLIPConfig> {
  /** A network without weights. @param raw transformers' config.json @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>>, what = "config.json") {
    super("clip", readCLIPConfig(what, raw), what);
  }

  /**
   * @param inputIds (B, L) int64, each row with its end token, L at most max_position_embeddings
   * @param options.grad whether to record a graph to the weights that ask for gradients. Default false
   * @returns the projected state at each row's first end token, (B, projection_dim), not normalised
   * @throws INVALID_ARGUMENT when a shape or an id does not fit, or a row has no end token
   */
  async textFeatures(inputIds: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    await checkTokenIds(inputIds, this.config.text_config.vocab_size);
    return new Tensor(await addon().clipTextFeatures(this.native, inputIds.native, options.grad ?? false));
  }

  /**
   * @param pixels (B, 3, image_size, image_size), normalised; their dtype is the compute dtype
   * @param options.grad whether to record a graph to the weights and pixels that ask for gradients. Default false
   * @returns the projected class token, (B, projection_dim), not normalised
   * @throws INVALID_ARGUMENT when the shape does not fit
   */
  async imageFeatures(pixels: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    return new Tensor(await addon().clipImageFeatures(this.native, pixels.native, options.grad ?? false));
  }
}

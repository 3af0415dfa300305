import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { Module } from "./module";

/**
 * The Inception network that FID is defined on (arXiv 1512.00567, 1706.08500), up to its last pooling, with torchvision's
 * parameter keys. As in the weights of the original, average pools leave the padding out, and the last block pools by the
 * maximum.
 */
export class InceptionV3 extends Module<object> {
  /** A network without weights. */
  constructor() {
    super("inception", {}, "InceptionV3");
  }

  /**
   * @param images (B, 3, H, W) in [0, 1], of any size: they are scaled to 299 × 299, bilinearly and without antialiasing;
   *   their dtype is the compute dtype
   * @param options.grad whether to record a graph, to the weights and images that ask for gradients. Default false
   * @returns features, (B, 2048)
   * @throws INVALID_ARGUMENT when the shape does not fit
   */
  async forward(images: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    return new Tensor(await addon().inceptionForward(this.native, images.native, options.grad ?? false));
  }
}

import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { readConfig, text } from "./config";
import { Module } from "./module";

/** Which trunk looks at the pictures. */
export interface LPIPSConfig {
  /** "alex": AlexNet's; "vgg": that of VGG with 16 layers. */
  net: string;
}

const defaults: Readonly<LPIPSConfig> = Object.freeze({ net: "alex" });

/**
 * A learned distance of pictures, as people see it (LPIPS, arXiv 1801.03924), version 0.1, with the parameter keys of its
 * authors' package.
 */
export class LPIPS extends Module<LPIPSConfig> {
  /** A network without weights. @param raw fields of LPIPSConfig @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>> = {}, what = "LPIPS") {
    super("lpips", readConfig(what, raw, defaults, { net: text("alex", "vgg") }), what);
  }

  /**
   * @param first (B, 3, H, W) in [-1, 1], at least 31 pixels wide and high (vgg: 16); its dtype is the compute dtype
   * @param second of the same shape and dtype
   * @param options.grad whether to record a graph, to the weights and pictures that ask for gradients. Default false
   * @returns distances, (B)
   * @throws INVALID_ARGUMENT when a shape does not fit
   */
  async forward(first: Tensor, second: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    const distances = addon().lpipsForward(this.native, first.native, options.grad ?? false, second.native);
    return new Tensor(await distances);
  }
}

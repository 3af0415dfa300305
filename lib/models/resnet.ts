import { flag, knownKeys } from "../check";
import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { positiveInteger, readConfig, text, type FieldRule } from "./config";
import { Module } from "./module";

/** Shape of a residual classifier; the defaults are torchvision's resnet18. */
export interface ResNetConfig {
  /** Layers with weights: 18 and 34 (basic blocks), 50, 101 and 152 (bottlenecks). */
  depth: number;
  num_classes: number;
  /** Channels of the stem; the four stages have 1, 2, 4 and 8 times as many (four times that in bottlenecks). */
  width: number;
  /** "imagenet": 7×7 with stride 2, then max pooling; "small", for pictures of 64 pixels or less: 3×3, no pooling. */
  stem: string;
}

/** What a forward of the classifier takes beside the images. */
export interface ResNetForwardOptions {
  /**
   * Whether to normalise by the batch's own statistics, and to move the running ones a tenth of the way towards them
   * (each `bn….running_mean` and `running_var`, in place). Default false: the running ones are used.
   */
  train?: boolean;
  /** Whether to record a graph, to the weights and images that ask for gradients. Default false. */
  grad?: boolean;
}

const defaults: Readonly<ResNetConfig> = Object.freeze({
  depth: 18,
  num_classes: 1000,
  width: 64,
  stem: "imagenet",
});

const depth: FieldRule = {
  kind: "read",
  accept: (value) => [18, 34, 50, 101, 152].includes(value as number),
  expected: "one of 18, 34, 50, 101, 152",
};

const rules = {
  depth,
  num_classes: positiveInteger,
  width: positiveInteger,
  stem: text("imagenet", "small"),
};

const STATISTIC = /\.(running_mean|running_var|num_batches_tracked)$/;

/** A residual network that classifies images (arXiv 1512.03385), with torchvision's parameter keys. */
export class ResNet extends Module<ResNetConfig> {
  /** A network without weights. @param raw fields of ResNetConfig @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>> = {}, what = "classifier/config.json") {
    super("resnet", readConfig(what, raw, defaults, rules), what);
  }

  /**
   * @param images (B, 3, H, W), normalised; their dtype is the compute dtype
   * @returns logits, (B, num_classes)
   * @throws INVALID_ARGUMENT when the shape does not fit, or a batch to train on has one value for a channel
   */
  async forward(images: Tensor, options: ResNetForwardOptions = {}): Promise<Tensor> {
    knownKeys("the forward options", options, ["train", "grad"]);
    const train = flag("train", options.train ?? false);
    const logits = await addon().resnetForward(this.native, images.native, options.grad ?? false, train);
    if (train) for (const name of this.statisticNames()) this.parameter(name).written = true;
    return new Tensor(logits);
  }

  /**
   * The parameters that `train` writes and no gradient reaches: each norm's running_mean, running_var and
   * num_batches_tracked, a scalar of int64.
   */
  statisticNames(): string[] {
    return this.parameterNames().filter((name) => STATISTIC.test(name));
  }

  /** The other parameters: those to give to an optimizer. */
  weightNames(): string[] {
    return this.parameterNames().filter((name) => !STATISTIC.test(name));
  }
}

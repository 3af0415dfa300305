import { stat } from "node:fs/promises";
import { join } from "node:path";
import { filePath, invalid, jobOptions, knownKeys } from "../check";
import { throwIfAborted } from "../errors";
import type { Image } from "../io/image";
import { localPath } from "../io/local-path";
import { modelPath } from "../io/model-path";
import { onDisk } from "../files/system-error";
import { ResNet } from "../models/resnet";
import type { Tensor } from "../runtime/tensor";
import { Classifier } from "./classifier";
import { describeFile, describeFolder, type ClassList, type ClassifierDescription } from "./classifier-files";
import { hashNetwork } from "./judge";
import { loadNetwork } from "./load-network";
import { preprocess, type Preprocessing } from "./preprocess";

/** How a classifier is loaded. */
export interface LoadClassifierOptions {
  /** Names of the outputs, in order; or names with the indices of their outputs, where only some are of interest. Needed
   *  for a bare file that is not ImageNet's. */
  classes?: ClassList;
  /** What differs from the classifier's own preprocessing. */
  preprocessing?: Partial<Preprocessing>;
  /** "cpu", "cuda:0", ... Default "cpu". */
  device?: string;
  signal?: AbortSignal;
}

/** A ResNet with the names of its classes and the preprocessing that it was trained with. */
export class ImageClassifier extends Classifier {
  readonly outputs: number;
  readonly preprocessing: Readonly<Preprocessing>;
  /** @internal */
  constructor(
    readonly origin: string,
    private readonly network: ResNet,
    private readonly device: string,
    readonly classes: ReadonlyMap<string, number>,
    preprocessing: Preprocessing,
  ) {
    super();
    this.outputs = network.config.num_classes;
    this.preprocessing = Object.freeze(preprocessing);
  }

  /**
   * Loads
   * - a folder: `config.json` with `depth`, `classes` (names in the order of the outputs), and where they differ from
   *   torchvision's `width`, `stem`, `resize`, `crop`, `mean`, `std`, `interpolation`; `model.safetensors`
   * - a bare file with torchvision's keys: the architecture follows from the shapes; of a thousand outputs the classes are
   *   those of Imagenette, at their places in ImageNet; of others they come from `classes`, or from a JSON file of the
   *   same name beside it
   * - "hf:user/name[@revision][/path]": either of these on a hub
   * - "pocket": the one that comes with the built-in model
   *
   * @throws INVALID_ARGUMENT, NOT_FOUND, INVALID_CHECKPOINT (another network's weights), UNSUPPORTED_MODEL,
   *   INVALID_SAFETENSORS, IO_ERROR, ABORTED; what `download` throws
   */
  static async load(path: string, options: LoadClassifierOptions = {}): Promise<ImageClassifier> {
    filePath("path", path);
    knownKeys("the classifier options", options, ["classes", "preprocessing", "device", "signal"]);
    jobOptions(options);
    throwIfAborted(options.signal);
    const { device = "cpu", signal } = options;
    const description = await describe(modelPath(await localPath(path, { signal }), "classifier"), options);
    const { config, weights, classes } = description;
    const preprocessing = { ...description.preprocessing, ...options.preprocessing };
    const network = new ResNet(config, path);
    await loadNetwork(network, weights, { device, ...(signal === undefined ? {} : { signal }) });
    return new ImageClassifier(path, network, device, classes, preprocessing);
  }

  override async hash(signal?: AbortSignal): Promise<string> {
    const { network, classes, preprocessing } = this;
    return hashNetwork(network, [network.config, [...classes], preprocessing], signal);
  }

  protected async logits(images: readonly Image[]): Promise<Tensor> {
    return this.network.forward(preprocess(images, this.preprocessing, this.device));
  }

  /** Frees the weights. Idempotent. */
  dispose(): void {
    this.network.dispose();
  }
}

async function describe(path: string, { classes }: LoadClassifierOptions): Promise<ClassifierDescription> {
  const isFolder = await onDisk("read", path, async () => (await stat(path)).isDirectory());
  if (!isFolder) return describeFile(path, classes);
  if (classes !== undefined)
    throw invalid("classes", `left out, since ${join(path, "config.json")} names them,`, classes);
  return describeFolder(path);
}

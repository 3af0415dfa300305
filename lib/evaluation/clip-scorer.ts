import { stat } from "node:fs/promises";
import { join } from "node:path";
import { filePath, invalid, jobOptions, knownKeys } from "../check";
import { throwIfAborted } from "../errors";
import type { Image } from "../io/image";
import { readJsonObject } from "../files/json-file";
import { localPath } from "../io/local-path";
import { modelPath } from "../io/model-path";
import { onDisk } from "../files/system-error";
import { CLIPModel } from "../models/clip";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { CLIPTokenizer } from "../text/clip-tokenizer";
import { hashNetwork } from "./judge";
import { loadNetwork } from "./load-network";
import { preprocess, type Preprocessing } from "./preprocess";
import { clipPreprocessing } from "./clip-preprocessing";
import { ZeroShotClassifier } from "./zero-shot-classifier";

/** A buffer of old files, which holds 0, 1, 2, ... */
const IGNORED = [/\.position_ids$/];

/** How a CLIP is loaded. */
export interface LoadClipOptions {
  /** "cpu", "cuda:0", ... Default "cpu". */
  device?: string;
  signal?: AbortSignal;
}

/** Says how well pictures fit texts, by CLIP (arXiv 2103.00020). */
export class ClipScorer {
  /** @internal */
  constructor(
    /** For messages: where it comes from. */
    readonly origin: string,
    private readonly network: CLIPModel,
    private readonly tokenizer: CLIPTokenizer,
    readonly preprocessing: Readonly<Preprocessing>,
    private readonly device: string,
  ) {}

  /**
   * Loads a folder as transformers saves a CLIPModel with its processor: `config.json`, `model.safetensors`, the
   * tokenizer's files, and `preprocessor_config.json` where it differs from OpenAI's; its name on a hub, "hf:user/name";
   * or "pocket", the one that comes with the built-in model.
   * @throws NOT_FOUND, INVALID_CHECKPOINT, UNSUPPORTED_MODEL, INVALID_SAFETENSORS, IO_ERROR, ABORTED; what `download` throws
   */
  static async load(path: string, options: LoadClipOptions = {}): Promise<ClipScorer> {
    filePath("path", path);
    knownKeys("the CLIP options", options, ["device", "signal"]);
    jobOptions(options);
    throwIfAborted(options.signal);
    const { device = "cpu", signal } = options;
    const folder = modelPath(await localPath(path, { signal }), "clip");
    const isFolder = await onDisk("read", folder, async () => (await stat(folder)).isDirectory());
    if (!isFolder) throw invalid("path", "a folder with a CLIP model", path);
    const config = join(folder, "config.json");
    const network = new CLIPModel(await readJsonObject(config), config);
    const { text_config, vision_config } = network.config;
    const tokenizer = await CLIPTokenizer.fromFiles(folder, {
      maxLength: text_config.max_position_embeddings,
    });
    const preprocessing = await clipPreprocessing(folder, vision_config.image_size);
    await loadNetwork(network, join(folder, "model.safetensors"), {
      device,
      ignore: IGNORED,
      ...(signal === undefined ? {} : { signal }),
    });
    return new ClipScorer(path, network, tokenizer, preprocessing, device);
  }

  /**
   * CLIP score of each picture with the text of the same index: 100 · max(cos, 0), as torchmetrics has it.
   * @throws INVALID_ARGUMENT when there are not as many texts as pictures
   */
  async score(images: readonly Image[], texts: readonly string[]): Promise<number[]> {
    if (images.length !== texts.length)
      throw invalid("texts", `${images.length}, one for each picture,`, texts);
    const cosines = await unscoped(() =>
      noGrad(() =>
        scope(async () => {
          const [pictures, words] = [await this.imageFeatures(images), await this.textFeatures(texts)];
          return pictures.mul(words).sum(-1).data();
        }),
      ),
    );
    return Array.from(cosines as Float32Array, (cosine) => 100 * Math.max(cosine, 0));
  }

  /**
   * A classifier that gives a picture to the class whose text fits it best.
   * @param template its text, the class's name in the place of {}. Default "a photo of a {}"
   */
  zeroShot(classes: readonly string[], template = "a photo of a {}"): ZeroShotClassifier {
    return new ZeroShotClassifier(this, classes, template);
  }

  /** Length of the vectors. */
  get dimensions(): number {
    return this.network.config.projection_dim;
  }

  /** Unit vectors of pictures: (B, projection_dim) float32. */
  async imageFeatures(images: readonly Image[]): Promise<Tensor> {
    const pixels = preprocess(images, this.preprocessing, this.device);
    return unit(await this.network.imageFeatures(pixels));
  }

  /** Unit vectors of texts, cut to the text tower's length: (B, projection_dim) float32. */
  async textFeatures(texts: readonly string[]): Promise<Tensor> {
    const rows = this.tokenizer.encode(texts);
    const shape = [rows.length, this.tokenizer.maxLength];
    const ids = Tensor.from(rows.flat(), shape, { dtype: "int64", device: this.device });
    return unit(await this.network.textFeatures(ids));
  }

  /** What tells it from others: SHA-256 over weights and preprocessing, 64 hexadecimal digits. @throws ABORTED */
  async hash(signal?: AbortSignal): Promise<string> {
    return hashNetwork(this.network, [this.network.config, this.preprocessing], signal);
  }

  /** What cosines are multiplied by before a softmax over classes: e to the learned scale. */
  get temperature(): Tensor {
    return this.network.parameter("logit_scale").exp();
  }

  /** Frees the weights. Idempotent. */
  dispose(): void {
    this.network.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function unit(features: Tensor): Tensor {
  return features.div(features.square().sum(-1, true).sqrt());
}

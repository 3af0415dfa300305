import { createHash } from "node:crypto";
import { invalid, nonEmptyString } from "../check";
import type { Image } from "../io/image";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { Classifier } from "./classifier";
import { fillTemplate } from "./template";

/** What makes unit vectors of pictures and texts. */
export interface Embedder {
  readonly origin: string;
  readonly temperature: Tensor;
  imageFeatures(images: readonly Image[]): Promise<Tensor>;
  textFeatures(texts: readonly string[]): Promise<Tensor>;
  hash(signal?: AbortSignal): Promise<string>;
}

/** Gives a picture to the class whose text lies nearest (arXiv 2103.00020, section 3.1). */
export class ZeroShotClassifier extends Classifier {
  readonly outputs: number;
  readonly classes: ReadonlyMap<string, number>;
  private readonly texts: readonly string[];
  private rows: Tensor | undefined;

  /** @throws INVALID_ARGUMENT on fewer than two classes, or repeated ones */
  constructor(
    private readonly embedder: Embedder,
    classes: readonly string[],
    template: string,
  ) {
    super();
    if (!Array.isArray(classes) || classes.length < 2)
      throw invalid("classes", "a list of at least two names to choose from", classes);
    this.classes = new Map(
      (classes as readonly string[]).map((name, i) => [nonEmptyString("classes", name).toLowerCase(), i]),
    );
    if (this.classes.size !== classes.length) throw invalid("classes", "free of repetitions", classes);
    this.texts = (classes as readonly string[]).map((name) => fillTemplate(template, name));
    this.outputs = classes.length;
  }

  get origin(): string {
    return `${this.embedder.origin}, zero-shot,`;
  }

  override async hash(signal?: AbortSignal): Promise<string> {
    const parts = [await this.embedder.hash(signal), [...this.classes], this.texts];
    return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  }

  protected async logits(images: readonly Image[]): Promise<Tensor> {
    this.rows ??= await unscoped(() => scope(() => this.embedder.textFeatures(this.texts)));
    const pictures = await this.embedder.imageFeatures(images);
    return pictures.matmul(this.rows.transpose(0, 1)).mul(this.embedder.temperature);
  }

  /** Frees the texts' vectors; the CLIP stays. Idempotent. */
  dispose(): void {
    this.rows?.dispose();
    this.rows = undefined;
  }
}

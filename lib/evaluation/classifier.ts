import { integer, invalid, jobOptions, knownKeys, tell } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { Image } from "../io/image";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** A classifier's opinion of one picture. */
export interface Ranking {
  /** Every class as the index of the classifier's output, the most probable first. */
  indices: number[];
  /** Of the classes in that order. */
  probabilities: number[];
}

/** How pictures are classified. */
export interface ClassifyOptions {
  /** Pictures seen together. Default 32. */
  batchSize?: number;
  signal?: AbortSignal;
  /** @param done pictures classified, of `total` */
  onProgress?(done: number, total: number): void;
}

/** Something that ranks classes for pictures. */
export abstract class Classifier {
  /** Number of classes that it tells apart. */
  abstract readonly outputs: number;
  /** The classes whose names are known, in lower case, with their outputs. */
  abstract readonly classes: ReadonlyMap<string, number>;
  /** For messages: where it comes from. */
  abstract readonly origin: string;

  /** The output of a class, its name in any case. @throws INVALID_ARGUMENT listing the classes that it knows */
  indexOf(name: string): number {
    const index = this.classes.get(name.toLowerCase());
    if (index !== undefined) return index;
    const known = [...this.classes.keys()];
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${this.origin} knows no class ${JSON.stringify(name)}; it knows ${known.slice(0, 20).join(", ")}${known.length > 20 ? `, and ${known.length - 20} more` : ""}`,
    );
  }

  /**
   * What tells it from others: SHA-256 over weights, classes and preprocessing, 64 hexadecimal digits. Null where it has
   * none, as a class of your own unless you give it one.
   * @throws ABORTED
   */
  async hash(signal?: AbortSignal): Promise<string | null> {
    throwIfAborted(signal);
    return null;
  }

  /**
   * Ranks all classes for each picture.
   * @throws INVALID_ARGUMENT, OUT_OF_MEMORY, ABORTED
   */
  async classify(images: readonly Image[], options: ClassifyOptions = {}): Promise<Ranking[]> {
    knownKeys("the classify options", options, ["batchSize", "signal", "onProgress"]);
    jobOptions(options, "onProgress");
    const batchSize = integer("batchSize", options.batchSize ?? 32, 1);
    if (!Array.isArray(images) || !images.every((image) => image instanceof Image))
      throw invalid("images", "a list of pictures", images);
    const rankings: Ranking[] = [];
    for (let first = 0; first < images.length; first += batchSize) {
      throwIfAborted(options.signal);
      rankings.push(...(await this.rank(images.slice(first, first + batchSize))));
      await tell(options.onProgress, rankings.length, images.length);
    }
    return rankings;
  }

  /** Unnormalised log-probabilities: (B, outputs) float32. */
  protected abstract logits(images: readonly Image[]): Promise<Tensor>;

  private async rank(images: readonly Image[]): Promise<Ranking[]> {
    const probabilities = await unscoped(() =>
      noGrad(() => scope(async () => (await this.logits(images)).softmax(-1).data())),
    );
    const { outputs } = this;
    return images.map((_, i) => {
      const own = Array.from(probabilities.subarray(i * outputs, (i + 1) * outputs) as Float32Array);
      if (own.some(Number.isNaN)) {
        throw new KpopError(
          "NUMERIC_FAILURE",
          `${this.origin} gives NaN for a picture; its weights are damaged or not trained`,
        );
      }
      // Equal ones in the order of the classes: a sort is stable.
      const indices = own.map((_p, index) => index).sort((a, b) => own[b]! - own[a]!);
      return { indices, probabilities: indices.map((index) => own[index]!) };
    });
  }

  abstract dispose(): void;

  [Symbol.dispose](): void {
    this.dispose();
  }
}

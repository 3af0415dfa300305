import type { Condition } from "../../diffusion/condition";
import type { LearnedToken } from "../../diffusion/learned-tokens";
import { embeddingWidth } from "../../diffusion/text-encoders";
import { tokenEmbeddings } from "../../inversion/concept-embedding";
import { invert } from "../../inversion/invert";
import { inversion } from "../../inversion/inversion-options";
import type { Image } from "../../io/image";
import type { Complete } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { StepReport } from "../../training/step-report";
import type { StatePart } from "../../training/run-state";
import type { ErasureJob } from "../job";

/** Options of learning words for a concept, of whose pictures and token the method decides. */
export function learnedWords() {
  const { vectors, templates, iterations, batchSize, learningRate } = inversion();
  return { vectors, templates, iterations, batchSize, learningRate };
}

/** `learnedWords()`, complete. */
export type LearnedWordOptions = Complete<ReturnType<typeof learnedWords>>;

/** Stands for what was learned for a concept. */
export function standIn(concept: number, vectors: number, width: number): LearnedToken {
  return { token: `<concept-${concept + 1}>`, embeddings: Tensor.zeros([vectors, width]) };
}

/**
 * Words that are learned for the concepts from their pictures, by textual inversion on the model as it came, before the
 * first iteration. They begin as the tokens of the concept's name, as far as there are any, and as random directions of
 * the same length.
 */
export class InvertedConcepts implements StatePart {
  private constructor(
    private readonly job: ErasureJob,
    private readonly options: LearnedWordOptions & { readonly mirror: boolean },
    /** Of each concept. */
    private readonly pictures: readonly (readonly (Image | string)[])[],
    /** By concept; empty until they are learned, or restored. */
    readonly words: readonly LearnedToken[],
  ) {}

  static create(
    job: ErasureJob,
    options: LearnedWordOptions & { readonly mirror: boolean },
    pictures: readonly (readonly (Image | string)[])[],
  ): InvertedConcepts {
    const width = embeddingWidth(job.base);
    const words = job.concepts.map((_, concept) => standIn(concept, options.vectors, width));
    return job.part("words", new InvertedConcepts(job, options, pictures, words));
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(this.words.map(({ token, embeddings }) => [token, embeddings]));
  }

  async prepare(): Promise<void> {
    const { job, options, pictures, words } = this;
    const { concepts, signal, teacher } = job;
    const started = performance.now();
    const total = concepts.length * options.iterations;
    for (const [index, concept] of concepts.entries()) {
      const { token, embeddings } = words[index]!;
      const reported = {
        onStep: ({ iteration }: StepReport) =>
          job.prepared("step of inversion", index * options.iterations + iteration, total, started),
      };
      const initial = await this.start(index, concept);
      const found = await job.stepping(options.iterations, (iterations) =>
        invert(teacher, {
          ...{ ...options, ...reported, token, templates: [...options.templates], images: pictures[index]! },
          ...{ iterations, initial },
          seed: job.random.at("inversion", index).below(2 ** 31),
          ...(signal === undefined ? {} : { signal }),
        }),
      );
      await embeddings.copyFrom(found.embeddings);
      found.dispose();
    }
  }

  /** Texts that name the words, as conditions. */
  encode(texts: readonly string[]): Promise<Condition> {
    return this.job.teacher.condition(texts, { tokens: this.words });
  }

  /** (n, d) float32. */
  private start(index: number, concept: string): Promise<Tensor> {
    const { job, options } = this;
    return scope(() =>
      noGrad(async () => {
        const own = await tokenEmbeddings(job.base, "a concept", concept); // (m, d)
        const [known, width] = own.shape as [number, number];
        const length = own.square().mean().sqrt();
        const missing = Math.max(0, options.vectors - known);
        if (missing === 0) return own.slice(0, 0, options.vectors);
        const { device } = job.base;
        const drawn = job.random.at("words", index).normal([missing, width]).to({ device });
        return Tensor.cat([own, drawn.mul(length)]);
      }),
    );
  }
}

import { invalid } from "../../check";
import { gradEnabled } from "../../runtime/grad-mode";
import type { Condition } from "../../diffusion/condition";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { KpopError } from "../../errors";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import type { ErasureJob } from "../job";
import type { AnchoredConcept } from "./caption-pairs";

/** Key of the table that words are trained in. */
export const TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight";

/**
 * Ids of the tokens that concepts are named with and their anchors are not.
 * @throws INVALID_ARGUMENT when a concept has no such token
 */
export function wordsOf(tokenizer: CLIPTokenizer, concepts: readonly AnchoredConcept[]): number[] {
  const tokens = (text: string): number[] =>
    tokenizer.encode(text, { padding: false, truncation: false })[0]!.slice(1, -1);
  const own = concepts.map(({ concept, anchor }) => {
    const kept = new Set(tokens(anchor));
    const left = tokens(concept).filter((id) => !kept.has(id));
    if (left.length > 0) return left;
    throw invalid("anchor", `a text without some word of the concept ${JSON.stringify(concept)}`, anchor);
  });
  return [...new Set(own.flat())];
}

/** Refuses concepts without such tokens, and models whose words have embeddings in two tables. @throws INVALID_ARGUMENT */
export function fitWords(
  { tokenizer, textEncoder2 }: Pick<StableDiffusion, "tokenizer" | "textEncoder2">,
  concepts: readonly AnchoredConcept[],
): void {
  wordsOf(tokenizer, concepts);
  if (textEncoder2 === null) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    'Expected parameters to be weights of the UNet but received "embedding": the model has two text encoders, and words are trained in one alone; "xattn-kv" is the default',
  );
}

/** Some rows of a text encoder's embedding table, trained while all else in it stays. */
export class TrainedWords {
  private constructor(
    private readonly job: ErasureJob,
    private readonly ids: readonly number[],
    /** (k, d) float32, a leaf. */
    readonly embeddings: Tensor,
  ) {}

  /**
   * The words that are trained where the parameters are "embedding"; null where weights are.
   * @param ids rows of the table, once each
   * @throws INVALID_ARGUMENT where there are prompts to preserve as well
   */
  static async instead(
    job: ErasureJob,
    parameters: unknown,
    ids: () => readonly number[],
  ): Promise<TrainedWords | null> {
    if (parameters !== "embedding") return null;
    if (job.preserve.length > 0) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        'Expected no prompts in preserve where parameters is "embedding": prompts without the concept\'s words stay as they are by themselves',
      );
    }
    const table = job.base.textEncoder.parameter(TOKEN_EMBEDDING);
    const embeddings = await scope(() => table.rows(ids()).to("float32").clone()).settled();
    return new TrainedWords(job, ids(), embeddings);
  }

  /** What is trained, by the table's name. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([[TOKEN_EMBEDDING, this.embeddings]]);
  }

  /** Prompts as conditions, with a graph to the rows where they ask for gradients. */
  async encode(prompts: readonly string[]): Promise<Condition> {
    const { base } = this.job;
    const ids = base.tokenizer.encode(prompts);
    const shape = [ids.length, base.tokenizer.maxLength];
    const input = Tensor.from(ids.flat(), shape, { dtype: "int64", device: base.device });
    const width = this.embeddings.shape[1]!;
    const plain = (await base.textEncoder.embedTokens(input)).to("float32").reshape([-1, width]);
    const mixed = this.mixed(plain, ids.flat()).reshape([...shape, width]);
    const options = { embeddings: mixed.to(base.dtype), grad: gradEnabled() };
    return { context: await base.textEncoder.forward(input, options) };
  }

  /** Puts the rows into the result's table. */
  async write(): Promise<void> {
    const table = this.job.student.textEncoder.parameter(TOKEN_EMBEDDING);
    await scope(() =>
      table.copyFrom(
        this.mixed(
          table,
          Array.from({ length: table.shape[0]! }, (_, id) => id),
        ),
      ),
    );
  }

  /** (n, d): row i is `plain`'s, or the trained one where id i is one of them. */
  private mixed(plain: Tensor, ids: readonly number[]): Tensor {
    const trained = new Map(this.ids.map((id, index) => [id, plain.shape[0]! + index]));
    return Tensor.cat([plain, this.embeddings]).rows(ids.map((id, index) => trained.get(id) ?? index));
  }
}

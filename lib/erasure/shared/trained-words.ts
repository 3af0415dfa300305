import { invalid } from "../../check";
import { gradEnabled } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import type { ErasureContext } from "../method";
import type { AnchoredConcept } from "./caption-pairs";
import { rows } from "./rows";

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

/** Some rows of a text encoder's embedding table, trained while all else in it stays. */
export class TrainedWords {
  private constructor(
    private readonly context: ErasureContext,
    private readonly ids: readonly number[],
    /** (k, d) float32, a leaf. */
    readonly embeddings: Tensor,
  ) {}

  /** @param ids rows of the table, once each */
  static async create(context: ErasureContext, ids: readonly number[]): Promise<TrainedWords> {
    const table = context.base.textEncoder.parameter(TOKEN_EMBEDDING);
    const embeddings = await scope(() => rows(table, ids).to("float32").clone()).settled();
    return new TrainedWords(context, ids, embeddings);
  }

  /** Prompts as (B, L, d), with a graph to the rows where they ask for gradients. */
  async encode(prompts: readonly string[]): Promise<Tensor> {
    const { base } = this.context;
    const ids = base.tokenizer.encode(prompts);
    const shape = [ids.length, base.tokenizer.maxLength];
    const input = Tensor.from(ids.flat(), shape, { dtype: "int64", device: base.device });
    const width = this.embeddings.shape[1]!;
    const plain = (await base.textEncoder.embedTokens(input)).to("float32").reshape([-1, width]);
    const mixed = this.mixed(plain, ids.flat()).reshape([...shape, width]);
    return base.textEncoder.forward(input, { embeddings: mixed.to(base.dtype), grad: gradEnabled() });
  }

  /** Puts the rows into the result's table. */
  async write(): Promise<void> {
    const table = this.context.textEncoder.parameter(TOKEN_EMBEDDING);
    await scope(() =>
      table.copyFrom(
        this.mixed(
          table,
          Array.from({ length: table.shape[0]! }, (_, id) => id),
        ),
      ),
    );
  }

  dispose(): void {
    this.embeddings.dispose();
  }

  /** (n, d): row i is `plain`'s, or the trained one where id i is one of them. */
  private mixed(plain: Tensor, ids: readonly number[]): Tensor {
    const trained = new Map(this.ids.map((id, index) => [id, plain.shape[0]! + index]));
    return rows(
      Tensor.cat([plain, this.embeddings]),
      ids.map((id, index) => trained.get(id) ?? index),
    );
  }
}

import type { CLIPTextModel } from "../models/clip-text";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { CLIPTokenizer } from "../text/clip-tokenizer";

/** What a model reads texts with. */
export interface TextReaders {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
  /** Stable Diffusion XL's second; null where there is one alone. */
  readonly tokenizer2: CLIPTokenizer | null;
  readonly textEncoder2: CLIPTextModel | null;
  readonly device: string;
}

/** A text encoder and what reads texts for it. */
export interface TextTower {
  readonly tokenizer: CLIPTokenizer;
  readonly encoder: CLIPTextModel;
}

/** A model's text encoders, in the order in which what they give stands in a token's state. */
export function textTowers(model: TextReaders): [TextTower, ...TextTower[]] {
  const { tokenizer, textEncoder: encoder, tokenizer2, textEncoder2 } = model;
  const second = textEncoder2 === null ? [] : [{ tokenizer: tokenizer2!, encoder: textEncoder2 }];
  return [{ tokenizer, encoder }, ...second];
}

/** Of all a model's text encoders, numbers that a token's embeddings have: the width of learned words. */
export function embeddingWidth({
  textEncoder,
  textEncoder2,
}: {
  readonly textEncoder: Pick<CLIPTextModel, "config">;
  readonly textEncoder2: Pick<CLIPTextModel, "config"> | null;
}): number {
  return textEncoder.config.hidden_size + (textEncoder2?.config.hidden_size ?? 0);
}

/** Ids, or embeddings in their place, as one text encoder takes them. */
export interface TowerInput {
  /** (B, L) int64. */
  readonly ids: Tensor;
  /** (B, L, hidden_size). */
  readonly embeddings?: Tensor;
}

/** What text encoders make of B texts. */
export interface TextStates {
  /** (B, L, d). */
  readonly context: Tensor;
  /** (B, p), of Stable Diffusion XL. */
  readonly pooled?: Tensor;
}

/**
 * Token states encoded together. Where the processor has no instructions for the weights' dtype, each weight is converted
 * once for all of them; and a hundred prompts take no more memory than these, nor more time until a signal is looked at.
 */
export const STATES_TOGETHER = 2048;

/** How many texts of a length are so encoded together. */
export function textsTogether(length: number): number {
  return Math.max(1, Math.floor(STATES_TOGETHER / length));
}

/**
 * Token states as the UNet reads them: the last ones of a single encoder; of Stable Diffusion XL's two (arXiv 2307.01952,
 * §2.1) the last but one's, before the final layer norm, side by side, with the second's pooled text.
 * @param inputs for each of the model's text encoders; for the first alone, where its states are all that is asked for
 */
export async function encodeTowers(
  model: TextReaders,
  inputs: readonly TowerInput[],
  { grad = false }: { grad?: boolean } = {},
): Promise<TextStates> {
  const [count, length] = inputs[0]!.ids.shape as [number, number];
  const together = textsTogether(length);
  if (grad || count <= together) return encodeTogether(model, inputs, grad);
  return scope(async () => {
    const found: TextStates[] = [];
    for (let from = 0; from < count; from += together) {
      const some = (rows: Tensor): Tensor => rows.slice(0, from, Math.min(from + together, count));
      const part = inputs.map(({ ids, embeddings }) => ({
        ids: some(ids),
        ...(embeddings === undefined ? {} : { embeddings: some(embeddings) }),
      }));
      found.push(await encodeTogether(model, part, false));
    }
    const pooled = found.flatMap((states) => states.pooled ?? []);
    return {
      context: Tensor.cat(found.map(({ context }) => context)),
      ...(pooled.length === 0 ? {} : { pooled: Tensor.cat(pooled) }),
    };
  });
}

async function encodeTogether(
  model: TextReaders,
  inputs: readonly TowerInput[],
  grad: boolean,
): Promise<TextStates> {
  const towers = textTowers(model);
  if (towers.length === 1) {
    const { ids, ...given } = inputs[0]!;
    return { context: await model.textEncoder.forward(ids, { ...given, grad }) };
  }
  return scope(async () => {
    const found = [];
    for (const [index, { ids, ...given }] of inputs.entries())
      found.push(await towers[index]!.encoder.hiddenStates(ids, { ...given, grad }));
    const { pooled } = found.at(-1)!;
    return {
      context: Tensor.cat(
        found.map(({ states }) => states),
        -1,
      ),
      ...(pooled === null ? {} : { pooled }),
    };
  });
}

/** Rows of ids for one text encoder, padded to the length that it takes: (B, L) int64. */
export function idTensor(
  { tokenizer: { maxLength, padTokenId } }: TextTower,
  rows: readonly (readonly number[])[],
  device: string,
): Tensor {
  const padded = rows.map((row) => [...row, ...Array<number>(maxLength - row.length).fill(padTokenId)]);
  return Tensor.from(padded.flat(), [rows.length, maxLength], { dtype: "int64", device });
}

/** Token states of texts as ids, start and end with them, without what pads them. */
export function encodeIds(model: TextReaders, rows: readonly (readonly number[])[]): Promise<TextStates> {
  return encodeTowers(
    model,
    textTowers(model).map((tower) => ({ ids: idTensor(tower, rows, model.device) })),
  );
}

/**
 * The embeddings of token ids in all of a model's text encoders, side by side.
 * @param ids (B, L) int64
 * @returns (B, L, Σ hidden_size)
 */
export function embedTokens(model: TextReaders, ids: Tensor): Promise<Tensor> {
  const [first, ...others] = textTowers(model);
  if (others.length === 0) return first.encoder.embedTokens(ids);
  return scope(async () => {
    const all = [];
    for (const { encoder } of [first, ...others]) all.push(await encoder.embedTokens(ids));
    return Tensor.cat(all, -1);
  });
}

/** What each of a model's text encoders takes of embeddings that stand side by side in the last dimension. */
export function splitWidths(model: TextReaders, embeddings: Tensor): Tensor[] {
  const towers = textTowers(model);
  if (towers.length === 1) return [embeddings];
  let end = 0;
  return towers.map(({ encoder }) => {
    const start = end;
    end += encoder.config.hidden_size;
    return embeddings.slice(-1, start, end);
  });
}

import { invalid, nonEmptyString } from "../check";
import { KpopError } from "../errors";
import { Tensor } from "../runtime/tensor";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import { embeddingWidth, type TextReaders } from "./text-encoders";

/** A word with embeddings of its own, as textual inversion learns them (arXiv 2208.01618). An `Inversion` is one. */
export interface LearnedToken {
  /** What stands for it in prompts, such as "<church>". */
  readonly token: string;
  /** (n, d): it takes the place of n tokens. With two text encoders, the numbers for the second stand behind the first's. */
  readonly embeddings: Tensor;
}

/** Refuses words that a text encoder cannot take behind `count` texts. @throws INVALID_ARGUMENT */
export function checkWords(model: TextReaders, { shape }: Tensor, count: number): void {
  const width = embeddingWidth(model);
  const most = mostWords(model.tokenizer);
  const [words, columns] = shape.slice(-2) as [number, number];
  const ranked = shape.length === 2 || (shape.length === 3 && shape[0] === count);
  if (ranked && words >= 1 && words <= most && columns === width) return;
  throw invalid(
    "learned words",
    `of shape (k, ${width}) or (${count}, k, ${width}), k from 1 to ${most},`,
    shape,
  );
}

/** Learned words that leave room for one of the text's own, and for its start and end. */
export function mostWords({ maxLength }: CLIPTokenizer): number {
  return maxLength - 3;
}

/** Ids of a prompt, and which of all learned vectors, counted through, stands where. */
export interface SplicedPrompt {
  /** L of them. */
  readonly ids: readonly number[];
  readonly places: readonly { readonly position: number; readonly vector: number }[];
}

/**
 * A name that prompts can hold for a learned token: no white space, and no token of the vocabulary.
 * @throws INVALID_ARGUMENT
 */
export function checkTokenName(tokenizer: CLIPTokenizer, token: unknown): string {
  const name = nonEmptyString("token", token);
  if (/\s/u.test(name)) throw invalid("token", "a text without white space, such as <church>", token);
  if (tokenizer.tokenize(name).length > 1) return name;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected token to be new but ${JSON.stringify(name)} is in the vocabulary already; choose another, such as ${JSON.stringify(`<my-${name.replace(/[<>|]/gu, "")}>`)}`,
  );
}

/** Learned tokens that fit a text encoder, of one name each. @throws INVALID_ARGUMENT */
export function checkLearnedTokens(model: TextReaders, tokens: unknown): readonly LearnedToken[] {
  if (!Array.isArray(tokens)) throw invalid("tokens", "a list of learned tokens", tokens);
  const width = embeddingWidth(model);
  const names = new Set<string>();
  for (const item of tokens as readonly unknown[]) {
    if (typeof item !== "object" || item === null) throw invalid("tokens", "a list of learned tokens", item);
    const { token, embeddings } = item as Partial<LearnedToken>;
    const name = checkTokenName(model.tokenizer, token);
    if (names.has(name)) throw invalid("tokens", "learned tokens of one name each", name);
    names.add(name);
    const what = `the embeddings of ${name}`;
    if (!(embeddings instanceof Tensor)) throw invalid(what, "a Tensor", embeddings);
    const [count = 0, columns] = embeddings.shape;
    if (embeddings.shape.length !== 2 || count === 0 || columns !== width)
      throw invalid(what, `of shape (n, ${width}), as this text encoder takes them,`, embeddings.shape);
  }
  return tokens as readonly LearnedToken[];
}

/** Vectors `first`, `first` + 1, … that stand behind a text, before its end token. */
export interface Suffix {
  readonly first: number;
  readonly count: number;
}

/**
 * The ids of a prompt as `tokenizer.encode` makes them, each learned token in it taking n places.
 * @param suffix what stands behind the text, which is cut where there is no room. Default nothing
 * @throws INVALID_ARGUMENT when the prompt is so long that a learned token would be cut off
 */
export function splicePrompt(
  tokenizer: CLIPTokenizer,
  prompt: string,
  tokens: readonly LearnedToken[],
  suffix: Suffix = { first: 0, count: 0 },
): SplicedPrompt {
  const parts = splitAt(
    prompt,
    tokens.map(({ token }) => token),
  );
  if (parts.length === 1 && suffix.count === 0) return { ids: tokenizer.encode(prompt)[0]!, places: [] };
  const vectors = firstVectors(tokens);
  const ids = [tokenizer.bosTokenId];
  const places: { position: number; vector: number }[] = [];
  for (const part of parts) {
    const learned = vectors.get(part);
    if (learned === undefined) {
      ids.push(...tokenizer.encode(part, { padding: false, truncation: false })[0]!.slice(1, -1));
      continue;
    }
    for (let i = 0; i < learned.count; i++) {
      places.push({ position: ids.length, vector: learned.first + i });
      // Any id would do: its own embedding is not read.
      ids.push(tokenizer.bosTokenId);
    }
  }
  const room = tokenizer.maxLength - 1 - suffix.count;
  if (places.length > 0 && places.at(-1)!.position >= room) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected learned tokens among the first ${room - 1} tokens of a prompt but ${JSON.stringify(prompt)} has one behind them; shorten it`,
    );
  }
  const row = ids.slice(0, room);
  for (let i = 0; i < suffix.count; i++) {
    places.push({ position: row.length, vector: suffix.first + i });
    row.push(tokenizer.bosTokenId);
  }
  row.push(tokenizer.eosTokenId);
  while (row.length < tokenizer.maxLength) row.push(tokenizer.padTokenId);
  return { ids: row, places };
}

function firstVectors(tokens: readonly LearnedToken[]): Map<string, { first: number; count: number }> {
  let first = 0;
  return new Map(
    tokens.map(({ token, embeddings }) => {
      const count = embeddings.shape[0]!;
      first += count;
      return [token, { first: first - count, count }];
    }),
  );
}

/** A text cut before and behind each of the names in it, of which the longest counts. */
function splitAt(text: string, names: readonly string[]): string[] {
  if (names.length === 0 || typeof text !== "string") return [text];
  const longestFirst = [...names].sort((a, b) => b.length - a.length);
  const pattern = longestFirst.map((name) => name.replace(/[\\^$.*+?()[\]{}|]/gu, "\\$&")).join("|");
  return text.split(new RegExp(`(${pattern})`, "u"));
}

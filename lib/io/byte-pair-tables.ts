import { KpopError } from "../errors";
import { atOnce, inTurns, TOGETHER, type Steps } from "./in-turns";
import { bytePairs } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";

/**
 * What byte-pair encoding goes by, checked. Tokenizers of the same files share one for as long as any of them is used: CLIP's
 * takes a tenth of a second to make.
 */
export interface BytePairTables {
  readonly vocabulary: ReadonlyMap<string, number>;
  /** The vocabulary by id, with gaps where it has some. */
  readonly tokens: readonly string[];
  /** (n, 3) in order of rank: the ids of both parts and of their join. */
  readonly merges: Int32Array;
  /** The rank of two tokens by their `pairKey`. */
  readonly ranks: ReadonlyMap<number, number>;
  /** `added_tokens` of a tokenizer.json, unchecked. */
  readonly added: unknown;
}

/** Bounds the tables that ids index; no CLIP vocabulary comes near it. */
export const LARGEST_ID = 2 ** 24;

type Texts = readonly (string | undefined)[];

/** The tables that some tokenizer goes by, with what they were made from. */
const known = new Set<WeakRef<{ tables: BytePairTables; texts: Texts }>>();

/** Keeps what `known` has of tables for as long as these are used. */
const entries = new WeakMap<BytePairTables, object>();

/** @throws INVALID_CHECKPOINT on files that do not fit together; UNSUPPORTED_MODEL on another kind of tokenizer */
export function bytePairTables(files: TokenizerFiles): BytePairTables {
  return shared(files) ?? remember(files, atOnce(make(files)));
}

/** The same, with turns for others on the JS thread. What comes right after the await finds them made. @throws as `bytePairTables` */
export async function bytePairTablesInTurns(files: TokenizerFiles): Promise<BytePairTables> {
  const found = shared(files);
  if (found !== undefined) return found;
  const made = await inTurns(make(files));
  // Another call may have made them meanwhile.
  return shared(files) ?? remember(files, made);
}

/** Ids are below 2^26, so that a pair of them is an exact integer. */
export function pairKey(left: number, right: number): number {
  return left * 2 ** 26 + right;
}

function* make(files: TokenizerFiles): Steps<BytePairTables> {
  const { vocab, merges: pairs, added } = yield* bytePairs(files);
  yield;
  const vocabulary = new Map<string, number>();
  const tokens: string[] = [];
  const names = Object.keys(vocab);
  yield;
  for (const token of names) {
    const id = vocab[token];
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > LARGEST_ID)
      bad(`Expected the id of ${JSON.stringify(token)} to be an integer from 0 to ${LARGEST_ID}`);
    if (tokens[id as number] !== undefined) bad("Tokens of the vocabulary share an id");
    tokens[id as number] = token;
    vocabulary.set(token, id as number);
    if (vocabulary.size % TOGETHER === 0) yield;
  }
  if (vocabulary.size === 0) bad("The vocabulary is empty");

  const merges = new Int32Array(3 * pairs.length);
  const ranks = new Map<number, number>();
  const idOf = (token: string, rank: number): number =>
    vocabulary.get(token) ??
    bad(
      `Merge ${rank + 1} (${JSON.stringify(pairs[rank])}) needs the token ${JSON.stringify(token)}, which the vocabulary lacks`,
    );
  for (let rank = 0; rank < pairs.length; rank++) {
    const pair = pairs[rank]!;
    const gap = pair.indexOf(" ");
    const [left, right] = [pair.slice(0, gap), pair.slice(gap + 1)];
    if (gap < 1 || right === "" || right.includes(" "))
      bad(`Expected merge ${rank + 1} to be two tokens but it is ${JSON.stringify(pair)}`);
    const [first, second] = [idOf(left, rank), idOf(right, rank)];
    merges[3 * rank] = first;
    merges[3 * rank + 1] = second;
    merges[3 * rank + 2] = idOf(left + right, rank);
    ranks.set(pairKey(first, second), rank);
    if (rank % TOGETHER === 0) yield;
  }
  return { vocabulary, tokens, merges, ranks, added };
}

function shared(files: TokenizerFiles): BytePairTables | undefined {
  const texts = textsOf(files);
  for (const reference of known) {
    const entry = reference.deref();
    if (entry === undefined) known.delete(reference);
    else if (entry.texts.every((text, at) => text === texts[at])) return entry.tables;
  }
  return undefined;
}

function remember(files: TokenizerFiles, tables: BytePairTables): BytePairTables {
  const entry = { tables, texts: textsOf(files) };
  entries.set(tables, entry);
  known.add(new WeakRef(entry));
  return tables;
}

function textsOf({ vocab, merges, tokenizer }: TokenizerFiles): Texts {
  return vocab !== undefined && merges !== undefined ? [vocab, merges] : [undefined, undefined, tokenizer];
}

/** @throws INVALID_CHECKPOINT */
export function bad(message: string): never {
  throw new KpopError("INVALID_CHECKPOINT", `${message} (tokenizer files)`);
}

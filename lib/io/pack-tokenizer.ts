import { setImmediate } from "node:timers/promises";
import { KpopError } from "../errors";
import { parseJsonObject } from "../files/json-file";
import { bytePairTablesInTurns } from "./byte-pair-tables";
import type { BytePairTables } from "./byte-pair-tables";
import { followsFrom, standardVocabulary, vocabularyText } from "./clip-vocabulary";
import { inTurns, TOGETHER, type Steps } from "./in-turns";
import { bytePairs, mergeLines } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";

/** Metadata key under which a single file carries its tokenizer. */
export const TOKENIZER_KEY = "kpop.tokenizer";

/** Largest tokenizer that a single file is given, in characters of JSON. */
const MAX_PACKED = 1_000_000;

const FIELDS = ["vocab", "merges", "config", "specialTokensMap", "addedTokens"] as const;

/** What of a packed tokenizer takes long to make: its vocabulary, unless that follows from its merges, and these. */
interface Pairs {
  vocab?: string;
  merges: string;
}

/** What was made of files that several tokenizers may share. */
export type PackedPairs = Map<BytePairTables, Pairs>;

/** A tokenizer as a metadata text, or null when that would pass 1,000,000 characters. CLIP's own vocabulary follows
 *  from its merges and is left out. Others on the JS thread have their turns.
 *  @param made what packing tokenizers of the same files has made already; what this one makes is added
 *  @throws INVALID_CHECKPOINT, UNSUPPORTED_MODEL when the files are not CLIP's */
export async function packTokenizer(
  files: TokenizerFiles,
  made: PackedPairs = new Map(),
): Promise<string | null> {
  const { config, specialTokensMap, addedTokens } = files;
  const packed = { ...(await pairsOf(files, made)), config, specialTokensMap, addedTokens };
  await setImmediate(); // what was joined last and this each take some milliseconds
  const text = JSON.stringify(packed);
  return text.length <= MAX_PACKED ? text : null;
}

async function pairsOf(files: TokenizerFiles, made: PackedPairs): Promise<Pairs> {
  const tables = await bytePairTablesInTurns(files).catch((error: unknown) => {
    if (error instanceof KpopError) return null;
    throw error;
  });
  // What can be read but does not fit together is packed as it is.
  if (tables === null) return await inTurns(uncheckedPairs(files));
  const pairs = made.get(tables) ?? (await inTurns(checkedPairs(tables)));
  made.set(tables, pairs);
  return pairs;
}

function* checkedPairs({ vocabulary, tokens, merges }: BytePairTables): Steps<Pairs> {
  const lines: string[] = [];
  for (let at = 0; at < merges.length; at += 3) {
    lines.push(`${tokens[merges[at]!]!} ${tokens[merges[at + 1]!]!}`);
    if (lines.length % TOGETHER === 0) yield;
  }
  return yield* pack(vocabulary, lines);
}

function* uncheckedPairs(files: TokenizerFiles): Steps<Pairs> {
  const { vocab, merges } = yield* bytePairs(files);
  return yield* pack(new Map(Object.entries(vocab)), merges);
}

function* pack(vocabulary: ReadonlyMap<string, unknown>, lines: readonly string[]): Steps<Pairs> {
  const implied = yield* followsFrom(lines, vocabulary);
  const vocab = implied ? {} : { vocab: yield* vocabularyText(vocabulary) };
  yield;
  return { ...vocab, merges: ["#version: 0.2", ...lines, ""].join("\n") };
}

/** @param path the file that carries it, for the error. @throws INVALID_CHECKPOINT */
export async function unpackTokenizer(text: string, path: string): Promise<TokenizerFiles> {
  return await inTurns(unpack(text, path));
}

function* unpack(text: string, path: string): Steps<TokenizerFiles> {
  const packed = parseJsonObject(text, `${TOKENIZER_KEY} in ${path}`);
  const files: TokenizerFiles = {};
  for (const field of FIELDS) {
    const value = packed[field];
    if (typeof value === "string") files[field] = value;
    else if (value !== undefined) throw damaged(path);
  }
  if (files.merges === undefined) throw damaged(path);
  yield;
  if (files.vocab === undefined) {
    const merges = mergeLines(files.merges);
    yield;
    files.vocab = yield* standardVocabulary(merges);
  }
  return files;
}

function damaged(path: string): KpopError {
  return new KpopError(
    "INVALID_CHECKPOINT",
    `Expected ${TOKENIZER_KEY} in ${path} to hold the texts of a tokenizer's files`,
  );
}

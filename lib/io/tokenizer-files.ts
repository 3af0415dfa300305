import { join } from "node:path";
import { KpopError } from "../errors";
import { isJsonObject, parseJsonObject, readText } from "../files/json-file";
import type { Steps } from "./in-turns";

/** The texts of a tokenizer's files: `vocab` with `merges`, or `tokenizer`; the others where they are there. */
export interface TokenizerFiles {
  /** vocab.json: token to id. */
  vocab?: string;
  /** merges.txt: a pair a line, in order of rank. */
  merges?: string;
  /** tokenizer.json, all that transformers 5 writes; not read where `vocab` and `merges` are given. */
  tokenizer?: string;
  /** tokenizer_config.json */
  config?: string;
  /** special_tokens_map.json; wins over `config`, as in transformers. */
  specialTokensMap?: string;
  /** added_tokens.json: further tokens, e.g. of a textual inversion. */
  addedTokens?: string;
}

export const TOKENIZER_FILES: Readonly<Record<keyof TokenizerFiles, string>> = {
  vocab: "vocab.json",
  merges: "merges.txt",
  tokenizer: "tokenizer.json",
  config: "tokenizer_config.json",
  specialTokensMap: "special_tokens_map.json",
  addedTokens: "added_tokens.json",
};

/** Appended to the last symbol of a word, so that "art" in "art" and in "artist" are different tokens. */
export const END_OF_WORD = "</w>";

/** The files of a folder that are there; null when they do not make a tokenizer. @throws IO_ERROR, INVALID_CHECKPOINT */
export async function readTokenizerFolder(folder: string): Promise<TokenizerFiles | null> {
  const files: TokenizerFiles = {};
  for (const [field, name] of Object.entries(TOKENIZER_FILES) as [keyof TokenizerFiles, string][]) {
    try {
      files[field] = await readText(join(folder, name));
    } catch (error) {
      if (!(error instanceof KpopError && error.code === "NOT_FOUND")) throw error;
    }
  }
  const separate = files.vocab !== undefined && files.merges !== undefined;
  return separate || files.tokenizer !== undefined ? files : null;
}

/** What byte-pair encoding goes by, unchecked. */
export interface BytePairs {
  vocab: Record<string, unknown>;
  /** Each two tokens with a space between them. */
  merges: string[];
  /** `added_tokens` of a tokenizer.json. */
  added: unknown;
}

/** Vocabulary and merges, from whichever of the files hold them.
 *  @throws INVALID_CHECKPOINT; UNSUPPORTED_MODEL on a tokenizer.json that is not byte-pair encoding of words */
export function* bytePairs(files: TokenizerFiles): Steps<BytePairs> {
  if (files.vocab !== undefined && files.merges !== undefined) {
    const vocab = parseJsonObject(files.vocab, TOKENIZER_FILES.vocab);
    yield;
    return { vocab, merges: mergeLines(files.merges), added: undefined };
  }
  if (files.tokenizer === undefined)
    throw new KpopError("INVALID_CHECKPOINT", "Expected vocab.json and merges.txt, or tokenizer.json");
  const { model, added_tokens: added } = parseJsonObject(files.tokenizer, TOKENIZER_FILES.tokenizer);
  if (!isJsonObject(model) || !isJsonObject(model["vocab"]) || !Array.isArray(model["merges"]))
    throw new KpopError("INVALID_CHECKPOINT", "Expected tokenizer.json to hold a vocabulary and merges");
  if (model["type"] !== "BPE" || model["end_of_word_suffix"] !== END_OF_WORD)
    throw new KpopError(
      "UNSUPPORTED_MODEL",
      `The tokenizer has a ${String(model["type"])} model with end_of_word_suffix ${JSON.stringify(model["end_of_word_suffix"])}; BPE with "${END_OF_WORD}" is supported`,
    );
  yield;
  // Pairs stand as `"a b"` or, since tokenizers 0.20, as `["a", "b"]`.
  const merges = model["merges"].map((pair: unknown) =>
    Array.isArray(pair) ? pair.join(" ") : String(pair),
  );
  return { vocab: model["vocab"], merges, added };
}

/** The pairs of a merges.txt. */
export function mergeLines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version"));
}

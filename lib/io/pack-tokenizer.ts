import { KpopError } from "../errors";
import { standardVocabulary } from "./clip-vocabulary";
import { parseJsonObject } from "../files/json-file";
import { bytePairs, mergeLines } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";

/** Metadata key under which a single file carries its tokenizer. */
export const TOKENIZER_KEY = "kpop.tokenizer";

/** Largest tokenizer that a single file is given, in characters of JSON. */
const MAX_PACKED = 1_000_000;

const FIELDS = ["vocab", "merges", "config", "specialTokensMap", "addedTokens"] as const;

/** A tokenizer as a metadata text, or null when that would pass 1,000,000 characters. CLIP's own vocabulary follows
 *  from its merges and is left out. @throws INVALID_CHECKPOINT, UNSUPPORTED_MODEL when the files are not CLIP's */
export function packTokenizer(files: TokenizerFiles): string | null {
  const { vocab, merges } = bytePairs(files);
  const standard = standardVocabulary(merges);
  const implied =
    standard.size === Object.keys(vocab).length && [...standard].every(([token, id]) => vocab[token] === id);
  const { config, specialTokensMap, addedTokens } = files;
  const packed = {
    ...(implied ? {} : { vocab: JSON.stringify(vocab) }),
    merges: ["#version: 0.2", ...merges, ""].join("\n"),
    config,
    specialTokensMap,
    addedTokens,
  };
  const text = JSON.stringify(packed);
  return text.length <= MAX_PACKED ? text : null;
}

/** @param path the file that carries it, for the error. @throws INVALID_CHECKPOINT */
export function unpackTokenizer(text: string, path: string): TokenizerFiles {
  const packed = parseJsonObject(text, `${TOKENIZER_KEY} in ${path}`);
  const files: TokenizerFiles = {};
  for (const field of FIELDS) {
    const value = packed[field];
    if (typeof value === "string") files[field] = value;
    else if (value !== undefined) throw damaged(path);
  }
  if (files.merges === undefined) throw damaged(path);
  files.vocab ??= JSON.stringify(Object.fromEntries(standardVocabulary(mergeLines(files.merges))));
  return files;
}

function damaged(path: string): KpopError {
  return new KpopError(
    "INVALID_CHECKPOINT",
    `Expected ${TOKENIZER_KEY} in ${path} to hold the texts of a tokenizer's files`,
  );
}

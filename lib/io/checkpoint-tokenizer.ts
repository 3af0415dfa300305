import { dirname, join } from "node:path";
import { KpopError } from "../errors";
import type { CheckpointSource } from "./checkpoint-types";
import { readText } from "../files/json-file";
import { TOKENIZER_KEY, unpackTokenizer } from "./pack-tokenizer";

/** The texts of a tokenizer's files: `vocab` with `merges`, or `tokenizer`; the others where they are there. */
export interface TokenizerFiles {
  /** vocab.json */
  vocab?: string;
  /** merges.txt */
  merges?: string;
  /** tokenizer.json, all that transformers 5 writes. */
  tokenizer?: string;
  /** tokenizer_config.json */
  config?: string;
  /** special_tokens_map.json */
  specialTokensMap?: string;
  /** added_tokens.json */
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

/** Finds the tokenizer of a checkpoint: a folder's tokenizer/, or what a single file carries or has beside it.
 *  @throws NOT_FOUND when a single file comes without; INVALID_CHECKPOINT, IO_ERROR */
export async function readTokenizer(source: CheckpointSource): Promise<TokenizerFiles> {
  if (source.tokenizer !== undefined) return { ...source.tokenizer };
  if (source.format === "diffusers") {
    const folder = join(source.path, "tokenizer");
    const found = await readFiles(folder);
    if (found !== null) return found;
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected vocab.json and merges.txt, or tokenizer.json, in ${folder}`,
    );
  }
  const carried = source.unet.files[0]?.header.metadata.get(TOKENIZER_KEY);
  if (carried !== undefined) return unpackTokenizer(carried, source.path);
  const beside = dirname(source.path);
  const found = (await readFiles(beside)) ?? (await readFiles(join(beside, "tokenizer")));
  if (found !== null) return found;
  throw new KpopError(
    "NOT_FOUND",
    `${source.path} carries no tokenizer: put CLIP's vocab.json and merges.txt (from the tokenizer folder of any ` +
      "diffusers copy of the model) beside it, or into a folder named tokenizer there",
  );
}

/** The files of a folder that are there; null when they do not make a tokenizer. */
async function readFiles(folder: string): Promise<TokenizerFiles | null> {
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

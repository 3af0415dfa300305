import { dirname, join } from "node:path";
import { KpopError } from "../errors";
import type { CheckpointSource } from "./checkpoint-types";
import { TOKENIZER_KEY, unpackTokenizer } from "./pack-tokenizer";
import { readTokenizerFolder } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";

/** Finds the tokenizer of a checkpoint: a folder's tokenizer/, or what a single file carries or has beside it.
 *  @throws NOT_FOUND when a single file comes without; INVALID_CHECKPOINT, IO_ERROR */
export async function readTokenizer(source: CheckpointSource): Promise<TokenizerFiles> {
  if (source.tokenizer !== undefined) return { ...source.tokenizer };
  if (source.format === "diffusers") {
    const folder = join(source.path, "tokenizer");
    const found = await readTokenizerFolder(folder);
    if (found !== null) return found;
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected vocab.json and merges.txt, or tokenizer.json, in ${folder}`,
    );
  }
  const carried = source.unet.files[0]?.header.metadata.get(TOKENIZER_KEY);
  if (carried !== undefined) return unpackTokenizer(carried, source.path);
  const beside = dirname(source.path);
  const found = (await readTokenizerFolder(beside)) ?? (await readTokenizerFolder(join(beside, "tokenizer")));
  if (found !== null) return found;
  throw new KpopError(
    "NOT_FOUND",
    `${source.path} carries no tokenizer: put CLIP's vocab.json and merges.txt (from the tokenizer folder of any ` +
      "diffusers copy of the model) beside it, or into a folder named tokenizer there",
  );
}

import { dirname, join } from "node:path";
import { KpopError } from "../errors";
import type { CheckpointSource } from "./checkpoint-types";
import { formatJson, parseJsonObject } from "../files/json-file";
import { ldmFamily } from "./ldm-keys";
import { TOKENIZER_KEY, unpackTokenizer } from "./pack-tokenizer";
import { readTokenizerFolder } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";

/** The tokenizers of a checkpoint, as its source names them, and their folders. */
export const TOKENIZER_FOLDERS = { tokenizer: "tokenizer", tokenizer2: "tokenizer_2" } as const;
export type TokenizerName = keyof typeof TOKENIZER_FOLDERS;

/** Metadata keys under which a single file carries them. */
export const TOKENIZER_KEYS: Readonly<Record<TokenizerName, string>> = {
  tokenizer: TOKENIZER_KEY,
  tokenizer2: `${TOKENIZER_KEY}_2`,
};

/** The tokenizers that a checkpoint has. */
export function tokenizersOf({ textEncoder2 }: CheckpointSource): TokenizerName[] {
  return textEncoder2 === undefined ? ["tokenizer"] : ["tokenizer", "tokenizer2"];
}

/** Finds a tokenizer of a checkpoint: a folder's tokenizer/, or what a single file carries or has beside it.
 *  @param which that of the first text encoder, or of Stable Diffusion XL's second
 *  @throws NOT_FOUND when a single file comes without; INVALID_CHECKPOINT, IO_ERROR */
export async function readTokenizer(
  source: CheckpointSource,
  which: TokenizerName = "tokenizer",
): Promise<TokenizerFiles> {
  const known = source[which];
  if (known !== undefined) return { ...known };
  if (source.format === "diffusers") {
    const folder = join(source.path, TOKENIZER_FOLDERS[which]);
    const found = await readTokenizerFolder(folder);
    if (found !== null) return found;
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected vocab.json and merges.txt, or tokenizer.json, in ${folder}`,
    );
  }
  const carried = source.unet.files[0]?.header.metadata.get(TOKENIZER_KEYS[which]);
  if (carried !== undefined) return { ...(await unpackedOnce(source, carried)) };
  const beside = dirname(source.path);
  const found = await readTokenizerFolder(join(beside, TOKENIZER_FOLDERS[which]));
  if (which === "tokenizer2") return found ?? secondTokenizer(await readTokenizer(source));
  const files = (await readTokenizerFolder(beside)) ?? found;
  if (files !== null) return ldmFamily(source) === "sd2" ? withPadding(files) : files;
  throw new KpopError(
    "NOT_FOUND",
    `${source.path} carries no tokenizer: put CLIP's vocab.json and merges.txt (from the tokenizer folder of any ` +
      "diffusers copy of the model) beside it, or into a folder named tokenizer there",
  );
}

/** What sources carry, unpacked: both tokenizers of a model may come from one text. */
const unpacked = new WeakMap<CheckpointSource, Map<string, Promise<TokenizerFiles>>>();

async function unpackedOnce(source: CheckpointSource, text: string): Promise<TokenizerFiles> {
  const known = unpacked.get(source) ?? new Map<string, Promise<TokenizerFiles>>();
  unpacked.set(source, known);
  const files = known.get(text) ?? unpackTokenizer(text, source.path);
  known.set(text, files);
  return await files;
}

/** What OpenCLIP's texts are padded with. */
const PADDING = "!";

/** Stable Diffusion XL's second tokenizer, which is the first one with another padding. */
export function secondTokenizer(first: TokenizerFiles): TokenizerFiles {
  const padded = (text: string): string =>
    formatJson({ ...parseJsonObject(text, "the tokenizer"), pad_token: PADDING });
  const { specialTokensMap, config = formatJson({}), ...files } = first;
  return {
    ...files,
    config: padded(config),
    ...(specialTokensMap === undefined ? {} : { specialTokensMap: padded(specialTokensMap) }),
  };
}

/** OpenCLIP's tokenizer where its files say nothing of padding. */
function withPadding(files: TokenizerFiles): TokenizerFiles {
  const said = [files.config, files.specialTokensMap].some((text) => text?.includes('"pad_token"') === true);
  return said || files.tokenizer !== undefined ? files : secondTokenizer(files);
}

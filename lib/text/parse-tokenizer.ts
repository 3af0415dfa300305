import { KpopError } from "../errors";
import { isJsonObject, parseJsonObject } from "../files/json-file";
import { TOKENIZER_FILES } from "../io/tokenizer-files";
import type { TokenizerFiles } from "../io/tokenizer-files";
import { LARGEST_ID, bad, bytePairTables } from "../io/byte-pair-tables";
import type { BytePairTables } from "../io/byte-pair-tables";

/** A token that is found in the text as it stands, before any splitting. */
export interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Looked for after normalisation (lower case), not before. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** What the files say, checked. */
export interface TokenizerModel {
  readonly tables: BytePairTables;
  readonly added: readonly AddedToken[];
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly unknownId: number;
  /** Undefined where the config gives none, or transformers' "no limit" of 1e30. */
  readonly modelMaxLength: number | undefined;
}

type Json = Record<string, unknown>;
type TokenSpec = Omit<AddedToken, "id">;

/** transformers' names, in the order in which it registers them: the last of equal content decides `normalized`. */
const DEFAULT_TOKENS: Readonly<Record<string, string>> = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
};
const TOKENIZER_CLASSES: readonly unknown[] = [undefined, null, "CLIPTokenizer", "CLIPTokenizerFast"];

/**
 * Checks and joins the files.
 * @throws INVALID_CHECKPOINT on files that do not fit together; UNSUPPORTED_MODEL on a tokenizer that is not CLIP's
 */
export function parseTokenizer(contents: TokenizerFiles): TokenizerModel {
  const config =
    contents.config === undefined ? {} : parseJsonObject(contents.config, TOKENIZER_FILES.config);
  if (!TOKENIZER_CLASSES.includes(config["tokenizer_class"]))
    throw unsupported(
      `tokenizer_class ${JSON.stringify(config["tokenizer_class"])} in ${TOKENIZER_FILES.config}; CLIPTokenizer is`,
    );

  const tables = bytePairTables(contents);
  const { vocabulary } = tables;

  const listedInConfig = config["added_tokens_decoder"];
  const named =
    listedInConfig === undefined && contents.specialTokensMap !== undefined
      ? { ...config, ...parseJsonObject(contents.specialTokensMap, TOKENIZER_FILES.specialTokensMap) }
      : config;
  const specs = Object.entries(DEFAULT_TOKENS).map(([name, content]) => ({
    name,
    spec: tokenSpec(name, named[name] ?? content),
  }));

  const added = new Map<string, AddedToken>();
  for (const { spec, id } of listedTokens(listedInConfig, contents.addedTokens, tables.added))
    addToken(added, vocabulary, spec, id);
  const listed = new Set(added.keys());
  const ids: Record<string, number> = {};
  for (const { name, spec } of specs) {
    const id = added.get(spec.content)?.id ?? vocabulary.get(spec.content);
    if (id === undefined) return bad(`The vocabulary lacks the ${name} ${JSON.stringify(spec.content)}`);
    if (!listed.has(spec.content)) addToken(added, vocabulary, spec, id);
    ids[name] = id;
  }

  return {
    tables,
    added: [...added.values()],
    bosId: ids["bos_token"]!,
    eosId: ids["eos_token"]!,
    padId: ids["pad_token"]!,
    unknownId: ids["unk_token"]!,
    modelMaxLength: lengthIn(config),
  };
}

/** `model_max_length` of tokenizer_config.json; undefined where it gives none. @throws INVALID_CHECKPOINT */
export function modelMaxLength({ config }: TokenizerFiles): number | undefined {
  if (config === undefined) return undefined;
  const length = lengthIn(parseJsonObject(config, TOKENIZER_FILES.config));
  if (length !== undefined && length < 2)
    bad(`Expected model_max_length to leave room for the start and end tokens but it is ${length}`);
  return length;
}

function lengthIn({ model_max_length: length }: Json): number | undefined {
  return Number.isSafeInteger(length) ? (length as number) : undefined;
}

function* listedTokens(
  decoder: unknown,
  addedTokens: string | undefined,
  serialized: unknown,
): Generator<{ spec: TokenSpec; id: unknown }> {
  if (decoder !== undefined) {
    for (const [id, value] of Object.entries(record("added_tokens_decoder", decoder)))
      yield { spec: tokenSpec("added_tokens_decoder", value), id: Number(id) };
    return;
  }
  if (addedTokens !== undefined) {
    for (const [content, id] of Object.entries(parseJsonObject(addedTokens, TOKENIZER_FILES.addedTokens))) {
      const special = Object.values(DEFAULT_TOKENS).includes(content);
      yield { spec: { content, normalized: !special, special }, id };
    }
  }
  for (const value of Array.isArray(serialized) ? (serialized as unknown[]) : [])
    yield { spec: tokenSpec("added_tokens", value), id: record("added_tokens", value)["id"] };
}

function addToken(
  added: Map<string, AddedToken>,
  vocabulary: ReadonlyMap<string, number>,
  spec: TokenSpec,
  id: unknown,
): void {
  const { content } = spec;
  if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > LARGEST_ID)
    bad(
      `Expected the id of the added token ${JSON.stringify(content)} to be an integer from 0 to ${LARGEST_ID}`,
    );
  const own = vocabulary.get(content);
  const taken = own === undefined ? tokenOf(id, vocabulary, added) : undefined;
  if ((own !== undefined && own !== id) || (taken !== undefined && taken !== content))
    bad(
      `The added token ${JSON.stringify(content)} has the id ${String(id)}, but ${own === undefined ? `that is the id of ${JSON.stringify(taken)}` : `${own} in the vocabulary`}`,
    );
  added.set(content, { ...spec, id: id as number });
}

function tokenOf(
  id: unknown,
  vocabulary: ReadonlyMap<string, number>,
  added: ReadonlyMap<string, AddedToken>,
): string | undefined {
  for (const [token, own] of vocabulary) if (own === id) return token;
  for (const [token, own] of added) if (own.id === id) return token;
  return undefined;
}

/** A token is written as its text or as an object of transformers' `AddedToken`. */
function tokenSpec(name: string, value: unknown): TokenSpec {
  if (typeof value === "string" && value !== "") return { content: value, normalized: false, special: true };
  const { content, normalized, special, single_word: singleWord } = record(name, value);
  if (typeof content !== "string" || content === "") bad(`Expected ${name} to have a content that is text`);
  if (singleWord === true) throw unsupported(`${name} with single_word; without it is`);
  return {
    content,
    normalized: normalized === true,
    special: special !== false,
  };
}

function record(name: string, value: unknown): Json {
  return isJsonObject(value) ? value : bad(`Expected ${name} to be a JSON object`);
}

function unsupported(what: string): KpopError {
  return new KpopError("UNSUPPORTED_MODEL", `The tokenizer has ${what} supported`);
}

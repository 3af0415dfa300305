import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { END_OF_WORD } from "./byte-pairs";

/** The text of a tokenizer's files. Either `vocab` with `merges`, or `tokenizer` (a `tokenizer.json`). */
export interface TokenizerContents {
  /** `vocab.json`: token to id. */
  vocab?: string;
  /** `merges.txt`: a pair a line, in order of rank. */
  merges?: string;
  /** `tokenizer.json`, all that transformers 5 writes; not read where `vocab` and `merges` are given. */
  tokenizer?: string;
  /** `tokenizer_config.json` */
  config?: string;
  /** `special_tokens_map.json`; wins over `config`, as in transformers. */
  specialTokensMap?: string;
  /** `added_tokens.json`: further tokens, e.g. of a textual inversion. */
  addedTokens?: string;
}

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
  readonly vocabulary: ReadonlyMap<string, number>;
  /** (n, 3) in order of rank: the ids of both parts and of their join. */
  readonly merges: Int32Array;
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
/** Bounds the tables that ids index; no CLIP vocabulary comes near it. */
const LARGEST_ID = 2 ** 24;
const TOKENIZER_CLASSES: readonly unknown[] = [undefined, null, "CLIPTokenizer", "CLIPTokenizerFast"];

const FILES: Readonly<Record<keyof TokenizerContents, string>> = {
  vocab: "vocab.json",
  merges: "merges.txt",
  tokenizer: "tokenizer.json",
  config: "tokenizer_config.json",
  specialTokensMap: "special_tokens_map.json",
  addedTokens: "added_tokens.json",
};

/**
 * Reads the files of a tokenizer folder that are there.
 * @throws NOT_FOUND where neither `vocab.json` with `merges.txt` nor `tokenizer.json` is there; IO_ERROR
 */
export async function readTokenizerFolder(folder: string): Promise<TokenizerContents> {
  const contents: TokenizerContents = {};
  for (const [key, file] of Object.entries(FILES) as [keyof TokenizerContents, string][]) {
    try {
      contents[key] = await readTokenizerFile(join(folder, file));
    } catch (error) {
      if ((error as KpopError).code !== "NOT_FOUND") throw error;
    }
  }
  if (contents.tokenizer === undefined && (contents.vocab === undefined || contents.merges === undefined)) {
    throw new KpopError(
      "NOT_FOUND",
      `Expected vocab.json and merges.txt, or tokenizer.json, in ${folder}, but ${contents.vocab === undefined ? "vocab.json" : "merges.txt"} is not there`,
    );
  }
  return contents;
}

/** One text file. @throws NOT_FOUND, IO_ERROR */
export async function readTokenizerFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR")
      throw new KpopError("NOT_FOUND", `There is no tokenizer file ${path}`, { cause: error });
    throw new KpopError("IO_ERROR", `Could not read ${path}: ${message}`, { cause: error });
  }
}

/**
 * Checks and joins the files.
 * @throws INVALID_CHECKPOINT on files that do not fit together; UNSUPPORTED_MODEL on a tokenizer that is not CLIP's
 */
export function parseTokenizer(contents: TokenizerContents): TokenizerModel {
  const config = contents.config === undefined ? {} : jsonObject(FILES.config, contents.config);
  if (!TOKENIZER_CLASSES.includes(config["tokenizer_class"]))
    throw unsupported(
      `tokenizer_class ${JSON.stringify(config["tokenizer_class"])} in ${FILES.config}; CLIPTokenizer is`,
    );

  const separate = contents.vocab !== undefined && contents.merges !== undefined;
  const single = separate
    ? {}
    : jsonObject(FILES.tokenizer, contents.tokenizer ?? bad("Expected vocab and merges, or tokenizer"));
  const model = separate ? {} : bpeModel(single);
  const vocabulary = parseVocabulary(
    separate ? jsonObject(FILES.vocab, contents.vocab!) : record("model.vocab", model["vocab"]),
  );
  const merges = mergeIds(separate ? mergeLines(contents.merges!) : mergeList(model["merges"]), vocabulary);

  const listedInConfig = config["added_tokens_decoder"];
  const named =
    listedInConfig === undefined && contents.specialTokensMap !== undefined
      ? { ...config, ...jsonObject(FILES.specialTokensMap, contents.specialTokensMap) }
      : config;
  const specs = Object.entries(DEFAULT_TOKENS).map(([name, content]) => ({
    name,
    spec: tokenSpec(name, named[name] ?? content),
  }));

  const added = new Map<string, AddedToken>();
  for (const { spec, id } of listedTokens(listedInConfig, contents.addedTokens, single["added_tokens"]))
    addToken(added, vocabulary, spec, id);
  const listed = new Set(added.keys());
  const ids: Record<string, number> = {};
  for (const { name, spec } of specs) {
    const id = added.get(spec.content)?.id ?? vocabulary.get(spec.content);
    if (id === undefined) return bad(`The vocabulary lacks the ${name} ${JSON.stringify(spec.content)}`);
    if (!listed.has(spec.content)) addToken(added, vocabulary, spec, id);
    ids[name] = id;
  }

  const length = config["model_max_length"];
  return {
    vocabulary,
    merges,
    added: [...added.values()],
    bosId: ids["bos_token"]!,
    eosId: ids["eos_token"]!,
    padId: ids["pad_token"]!,
    unknownId: ids["unk_token"]!,
    modelMaxLength: Number.isSafeInteger(length) ? (length as number) : undefined,
  };
}

function parseVocabulary(entries: Json): Map<string, number> {
  const vocabulary = new Map<string, number>();
  const taken = new Set<number>();
  for (const token of Object.keys(entries)) {
    const id = entries[token];
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > LARGEST_ID)
      bad(`Expected the id of ${JSON.stringify(token)} to be an integer from 0 to ${LARGEST_ID}`);
    taken.add(id as number);
    vocabulary.set(token, id as number);
  }
  if (vocabulary.size === 0) bad("The vocabulary is empty");
  if (taken.size < vocabulary.size) bad("Tokens of the vocabulary share an id");
  return vocabulary;
}

function* mergeLines(text: string): Generator<string> {
  for (const line of text.split("\n")) {
    const pair = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (pair !== "" && !pair.startsWith("#version")) yield pair;
  }
}

function mergeIds(pairs: Iterable<string>, vocabulary: ReadonlyMap<string, number>): Int32Array {
  const ids: number[] = [];
  for (const pair of pairs) {
    const gap = pair.indexOf(" ");
    const left = pair.slice(0, gap);
    const right = pair.slice(gap + 1);
    if (gap < 1 || right === "" || right.includes(" "))
      bad(`Expected merge ${ids.length / 3 + 1} to be two tokens but it is ${JSON.stringify(pair)}`);
    for (const token of [left, right, left + right]) {
      const id = vocabulary.get(token);
      if (id === undefined)
        return bad(
          `Merge ${ids.length / 3 + 1} (${JSON.stringify(pair)}) needs the token ${JSON.stringify(token)}, which the vocabulary lacks`,
        );
      ids.push(id);
    }
  }
  return Int32Array.from(ids);
}

/** Pairs stand as `"a b"` or, since tokenizers 0.20, as `["a", "b"]`. */
function mergeList(list: unknown): string[] {
  if (!Array.isArray(list)) return bad("Expected model.merges in tokenizer.json to be an array");
  return list.map((pair: unknown) => (Array.isArray(pair) ? pair.join(" ") : String(pair)));
}

function bpeModel(tokenizer: Json): Json {
  const model = record("model", tokenizer["model"]);
  if (model["type"] !== "BPE" || model["end_of_word_suffix"] !== END_OF_WORD)
    throw unsupported(
      `a ${String(model["type"])} model with end_of_word_suffix ${JSON.stringify(model["end_of_word_suffix"])}; BPE with "${END_OF_WORD}" is`,
    );
  return model;
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
    for (const [content, id] of Object.entries(jsonObject(FILES.addedTokens, addedTokens))) {
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

function jsonObject(file: string, text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    bad(`${file} is not JSON: ${(error as Error).message}`);
  }
  return record(file, value);
}

function record(name: string, value: unknown): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    bad(`Expected ${name} to be a JSON object`);
  return value as Json;
}

function bad(message: string): never {
  throw new KpopError("INVALID_CHECKPOINT", `${message} (tokenizer files)`);
}

function unsupported(what: string): KpopError {
  return new KpopError("UNSUPPORTED_MODEL", `The tokenizer has ${what} supported`);
}

import { integer, invalid, knownKeys } from "../check";
import { KpopError } from "../errors";
import { readText } from "../files/json-file";
import { BYTE_CHARACTERS } from "../io/clip-vocabulary";
import { END_OF_WORD, readTokenizerFolder } from "../io/tokenizer-files";
import type { TokenizerFiles } from "../io/tokenizer-files";
import { bytePairTablesInTurns } from "../io/byte-pair-tables";
import { BytePairEncoder } from "./byte-pairs";
import { parseTokenizer } from "./parse-tokenizer";
import type { AddedToken } from "./parse-tokenizer";

/** How rows of token ids are made. */
export interface EncodeOptions {
  /** Fill rows up to `maxLength` with the padding token; default true. */
  padding?: boolean;
  /** Cut rows at `maxLength`, keeping the end token; default true. */
  truncation?: boolean;
}

/** Paths of single files, where they do not stand in one folder. */
export interface TokenizerPaths {
  vocab: string;
  merges: string;
  /** `tokenizer_config.json`; without it, CLIP's special tokens, padding with the end token. */
  config?: string;
}

/** How texts are cut. */
export interface TokenizerOptions {
  /** L, the text encoder's `max_position_embeddings`; default the config's `model_max_length`. */
  maxLength?: number;
}

// The Unicode property White_Space, which JavaScript's \s is not: it lacks U+0085 and has U+FEFF.
const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "gu");
const WORDS = new RegExp(
  `<\\|(?:start|end)oftext\\|>|'(?:s|t|re|ve|m|ll|d)|\\p{L}+|\\p{N}|[^${SPACE}\\p{L}\\p{N}]+`,
  "gu",
);
// Python's str.strip, which transformers ends decoding with, also takes the separators U+001C to U+001F.
const EDGES = new RegExp(`^[${SPACE}\\x1c-\\x1f]+|[${SPACE}\\x1c-\\x1f]+$`, "gu");

const BYTES = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/**
 * CLIP's tokenizer: byte-level byte-pair encoding over NFC-normalised, lower-cased text (Radford et al., arXiv
 * 2103.00020 §2.4), from the checkpoint's own vocabulary. Gives the ids of transformers 5's `CLIPTokenizer`: text is
 * not repaired (no ftfy, HTML entities stay as written) and special tokens written out in the text become their ids.
 * `do_lower_case` and `add_prefix_space` in the config are not read, there as here.
 */
export class CLIPTokenizer {
  /** L, the length of a padded row, start and end token included. */
  readonly maxLength: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  readonly padTokenId: number;
  /** One more than the largest id: the text encoder's embedding needs at least as many rows. */
  readonly vocabSize: number;

  readonly #encoder: BytePairEncoder;
  /** Shared with other tokenizers of the same files. */
  readonly #tokens: readonly string[];
  /** Added tokens by id, which come before those. */
  readonly #added: ReadonlyMap<number, string>;
  readonly #special = new Set<number>();
  readonly #literal: AddedTokenFinder;
  readonly #normalized: AddedTokenFinder;

  /**
   * @param contents the text of the files
   * @throws INVALID_CHECKPOINT on files that do not fit together, UNSUPPORTED_MODEL on another kind of tokenizer,
   *   INVALID_ARGUMENT where neither `maxLength` nor the config gives a length from 2 on
   */
  constructor(contents: TokenizerFiles, options: TokenizerOptions = {}) {
    knownKeys("the tokenizer options", options, ["maxLength"]);
    const model = parseTokenizer(contents);
    this.maxLength = integer("maxLength", options.maxLength ?? model.modelMaxLength, 2, 2 ** 20);
    this.bosTokenId = model.bosId;
    this.eosTokenId = model.eosId;
    this.padTokenId = model.padId;
    this.#encoder = new BytePairEncoder(model.tables, model.unknownId);
    this.#tokens = model.tables.tokens;
    this.#added = new Map(model.added.map(({ content, id }) => [id, content]));
    for (const { id, special } of model.added) if (special) this.#special.add(id);
    this.vocabSize = model.added.reduce((size, { id }) => Math.max(size, id + 1), this.#tokens.length);
    this.#literal = new AddedTokenFinder(model.added.filter((token) => !token.normalized));
    this.#normalized = new AddedTokenFinder(
      model.added
        .filter((token) => token.normalized)
        .map((token) => ({ ...token, content: normalize(token.content) })),
    );
  }

  /** The same, without holding up others on the JS thread. @throws what the constructor throws */
  static async from(contents: TokenizerFiles, options: TokenizerOptions = {}): Promise<CLIPTokenizer> {
    await bytePairTablesInTurns(contents); // which the constructor finds
    return new CLIPTokenizer(contents, options);
  }

  /**
   * Reads a diffusers `tokenizer` folder (`vocab.json` and `merges.txt`, or `tokenizer.json`), or single files.
   * @throws NOT_FOUND, IO_ERROR, and what the constructor throws
   */
  static async fromFiles(
    source: string | TokenizerPaths,
    options: TokenizerOptions = {},
  ): Promise<CLIPTokenizer> {
    if (typeof source === "string") {
      const files = await readTokenizerFolder(source);
      if (files !== null) return await CLIPTokenizer.from(files, options);
      throw new KpopError("NOT_FOUND", `Expected vocab.json and merges.txt, or tokenizer.json, in ${source}`);
    }
    knownKeys("the tokenizer paths", source, ["vocab", "merges", "config"]);
    const contents: TokenizerFiles = {
      vocab: await readText(source.vocab),
      merges: await readText(source.merges),
    };
    if (source.config !== undefined) contents.config = await readText(source.config);
    return await CLIPTokenizer.from(contents, options);
  }

  /**
   * Token ids: the start token, the text, the end token; one row for each text. With the defaults every row has
   * `maxLength` ids, as the text encoder takes them.
   * @throws INVALID_ARGUMENT on a text with a lone surrogate, which has no UTF-8 form
   */
  encode(text: string | readonly string[], options: EncodeOptions = {}): number[][] {
    knownKeys("the options of encode", options, ["padding", "truncation"]);
    const padding = flag("padding", options.padding);
    const truncation = flag("truncation", options.truncation);
    const texts: readonly unknown[] = Array.isArray(text) ? (text as readonly unknown[]) : [text];
    return texts.map((one) => {
      const room = truncation ? this.maxLength - 2 : Infinity;
      const row = [this.bosTokenId, ...this.#textIds(wellFormed(one), room), this.eosTokenId];
      while (padding && row.length < this.maxLength) row.push(this.padTokenId);
      return row;
    });
  }

  /** The tokens of the text alone, without start and end, as the vocabulary writes them. @throws INVALID_ARGUMENT */
  tokenize(text: string): string[] {
    return this.#textIds(wellFormed(text), Infinity).map((id) => this.#tokenOf(id)!);
  }

  /**
   * Text from ids; lower-cased, and with the spaces that the words' ends leave. Special tokens are written out, as
   * transformers does by default, unless `skipSpecialTokens` is set.
   * @throws INVALID_ARGUMENT on an id that the vocabulary lacks
   */
  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    knownKeys("the options of decode", options, ["skipSpecialTokens"]);
    const skip = flag("skipSpecialTokens", options.skipSpecialTokens, false);
    if (!Array.isArray(ids)) throw invalid("ids", "an array of token ids", ids);
    const bytes: number[] = [];
    for (const id of ids as readonly number[]) {
      const token = Number.isInteger(id) ? this.#tokenOf(id) : undefined;
      if (token === undefined) throw invalid("each id", `a token id below ${this.vocabSize}`, id);
      if (!(skip && this.#special.has(id))) bytes.push(...tokenBytes(token));
    }
    return new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(Uint8Array.from(bytes))
      .replaceAll(END_OF_WORD, " ")
      .replace(EDGES, "");
  }

  #tokenOf(id: number): string | undefined {
    return this.#added.get(id) ?? this.#tokens[id];
  }

  /** At most `room` ids; the text behind them is not looked at. */
  #textIds(text: string, room: number): number[] {
    const ids: number[] = [];
    for (const part of this.#parts(text)) {
      if (ids.length >= room) break;
      if (typeof part === "number") ids.push(part);
      else for (const id of this.#encoder.encode(part)) ids.push(id);
    }
    return ids.length > room ? ids.slice(0, room) : ids;
  }

  /** Words, and the ids of added tokens between them. */
  *#parts(text: string): Generator<string | number> {
    for (const raw of this.#literal.split(text)) {
      if (typeof raw === "number") yield raw;
      else
        for (const part of this.#normalized.split(normalize(raw))) {
          if (typeof part === "number") yield part;
          else yield* words(part);
        }
    }
  }
}

/** Finds added tokens in a text: the leftmost, and of those the longest. */
class AddedTokenFinder {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    this.#ids = new Map(tokens.map(({ content, id }) => [content, id]));
    const longestFirst = [...this.#ids.keys()].sort((a, b) => b.length - a.length);
    if (longestFirst.length > 0) this.#pattern = new RegExp(longestFirst.map(escape).join("|"), "gu");
  }

  *split(text: string): Generator<string | number> {
    let from = 0;
    for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
      if (match.index > from) yield text.slice(from, match.index);
      yield this.#ids.get(match[0])!;
      from = match.index + match[0].length;
    }
    if (from < text.length) yield text.slice(from);
  }
}

/** NFC, one space for each run of white space, lower case. */
function normalize(text: string): string {
  // Character by character, as the reference: no final sigma, the one lower-casing that looks at its neighbours.
  return text.normalize("NFC").replace(SPACES, " ").replaceAll("\u03a3", "\u03c3").toLowerCase();
}

function* words(text: string): Generator<string> {
  for (const [word] of text.matchAll(WORDS)) {
    // CLIP's pattern keeps the special tokens whole; the byte-level step behind it in the reference splits them again.
    if (word === "<|startoftext|>" || word === "<|endoftext|>") yield* ["<|", word.slice(2, -2), "|>"];
    else yield word;
  }
}

/** The bytes that a token stands for; one that is not byte-level text, such as an added token, stands for itself. */
function tokenBytes(token: string): readonly number[] | Uint8Array {
  const bytes = Array.from(token, (character) => BYTES.get(character));
  return bytes.includes(undefined) ? new TextEncoder().encode(token) : (bytes as number[]);
}

function wellFormed(text: unknown): string {
  if (typeof text !== "string") throw invalid("text", "a string or an array of strings", text);
  const lone = /\p{Surrogate}/u.exec(text);
  if (lone !== null)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected text to be well-formed Unicode but it has half of a surrogate pair at index ${lone.index}; replace it, e.g. with toWellFormed()`,
    );
  return text;
}

function flag(name: string, value: unknown, fallback = true): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== "boolean") throw invalid(name, "true or false", value);
  return value;
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/gu, "\\$&");
}

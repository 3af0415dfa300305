import { TOGETHER, type Steps } from "./in-turns";
import { END_OF_WORD } from "./tokenizer-files";

/**
 * The printable stand-in of each byte: BPE vocabularies hold text, so bytes that do not print (white space, controls,
 * 0x7f to 0xa0, 0xad) are written as the characters from U+0100 on, in byte order. GPT-2's convention, which CLIP uses.
 */
export const BYTE_CHARACTERS: readonly string[] = byteCharacters();

/** CLIP's tokens by id, as they follow from its merges: the 256 bytes as printable characters, those that print first,
 *  the same at a word's end, one token for each merge, start, end. Of equal ones the last counts.
 *  @param merges each two tokens with a space between them */
export function* standardTokens(merges: readonly string[]): Steps<string[]> {
  const bytes = [...BYTE_CHARACTERS].sort();
  const tokens = [...bytes, ...bytes.map((character) => character + END_OF_WORD)];
  for (const pair of merges) {
    tokens.push(pair.trim().replace(" ", ""));
    if (tokens.length % TOGETHER === 0) yield;
  }
  tokens.push("<|startoftext|>", "<|endoftext|>");
  return tokens;
}

/** Whether a vocabulary is the one that follows from its merges. */
export function* followsFrom(
  merges: readonly string[],
  vocabulary: ReadonlyMap<string, unknown>,
): Steps<boolean> {
  const tokens = yield* standardTokens(merges);
  let met = 0;
  for (const [at, token] of tokens.entries()) {
    const id = vocabulary.get(token);
    if (id === at) met++;
    else if (typeof id !== "number" || id < at || tokens[id] !== token) return false;
    if (at % TOGETHER === 0) yield;
  }
  return met === vocabulary.size;
}

/** The vocabulary that follows from merges, as vocab.json has it. */
export function* standardVocabulary(merges: readonly string[]): Steps<string> {
  const ids = new Map<string, number>();
  for (const [id, token] of (yield* standardTokens(merges)).entries()) {
    ids.set(token, id);
    if (id % TOGETHER === 0) yield;
  }
  return yield* vocabularyText(ids);
}

/** What `JSON.stringify` writes of an object with these entries: names that are whole numbers come first. */
export function* vocabularyText(entries: ReadonlyMap<string, unknown>): Steps<string> {
  const numbers: { name: number; text: string }[] = [];
  const others: string[] = [];
  for (const [name, value] of entries) {
    const text = `${JSON.stringify(name)}:${JSON.stringify(value)}`;
    if (/^(?:0|[1-9]\d*)$/.test(name) && Number(name) <= LARGEST_INDEX)
      numbers.push({ name: Number(name), text });
    else others.push(text);
    if ((numbers.length + others.length) % TOGETHER === 0) yield;
  }
  numbers.sort((a, b) => a.name - b.name);
  return `{${[...numbers.map(({ text }) => text), ...others].join(",")}}`;
}

/** Of an array; an object lists names up to it by their value. */
const LARGEST_INDEX = 2 ** 32 - 2;

function byteCharacters(): string[] {
  let standIn = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCodePoint(prints ? byte : standIn++);
  });
}

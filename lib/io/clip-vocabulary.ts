import { END_OF_WORD } from "./tokenizer-files";

/**
 * The printable stand-in of each byte: BPE vocabularies hold text, so bytes that do not print (white space, controls,
 * 0x7f to 0xa0, 0xad) are written as the characters from U+0100 on, in byte order. GPT-2's convention, which CLIP uses.
 */
export const BYTE_CHARACTERS: readonly string[] = byteCharacters();

/** CLIP's vocabulary as it follows from its merges: the 256 bytes as printable characters, those that print first, the
 *  same at a word's end, one token for each merge, start, end.
 *  @param merges each two tokens with a space between them */
export function standardVocabulary(merges: readonly string[]): Map<string, number> {
  const bytes = [...BYTE_CHARACTERS].sort();
  const tokens = [
    ...bytes,
    ...bytes.map((character) => character + END_OF_WORD),
    ...merges.map((pair) => pair.trim().replace(" ", "")),
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  return new Map(tokens.map((token, id) => [token, id]));
}

function byteCharacters(): string[] {
  let standIn = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCodePoint(prints ? byte : standIn++);
  });
}

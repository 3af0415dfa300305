/** CLIP's vocabulary as it follows from its merges: the 256 bytes as printable characters, the same at a word's end,
 *  one token for each merge, start, end.
 *  @param merges the text of merges.txt */
export function standardVocabulary(merges: string): Map<string, number> {
  const bytes = byteCharacters();
  const merged = merges
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#version"))
    .map((line) => line.trim().replace(" ", ""));
  const tokens = [
    ...bytes,
    ...bytes.map((char) => `${char}</w>`),
    ...merged,
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  return new Map(tokens.map((token, id) => [token, id]));
}

/** Byte-level BPE's alphabet in the vocabulary's order: bytes that print stand for themselves, the others for
 *  characters from U+0100 on. */
function byteCharacters(): string[] {
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const all = Array.from({ length: 256 }, (_, byte) => byte);
  const printing = all.filter(prints).map((byte) => String.fromCharCode(byte));
  return [
    ...printing,
    ...Array.from({ length: 256 - printing.length }, (_, n) => String.fromCharCode(256 + n)),
  ];
}

/** A byte-level BPE vocabulary in the layout of CLIP's tokenizer files. */
export interface Vocabulary {
  /** vocab.json: token to id. */
  vocab: Record<string, number>;
  /** merges.txt */
  merges: string;
  bosId: number;
  eosId: number;
}

const END = "</w>";
const BOS = "<|startoftext|>";
const EOS = "<|endoftext|>";

/**
 * Learns merges (Sennrich et al., arXiv 1508.07909, algorithm 1) until every word of the texts is one token: bytes,
 * bytes that end a word, merges in order, then the two special tokens, as in CLIP's vocabulary.
 */
export function learnBytePairs(texts: readonly string[]): Vocabulary {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.match(/[a-z]+|[^\sa-z]+/g) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const words = [...counts].map(([word, count]) => {
    const letters = [...word];
    return { parts: [...letters.slice(0, -1), `${letters.at(-1)!}${END}`], count };
  });
  const merges: string[] = [];
  for (let pair = commonest(words); pair !== null; pair = commonest(words)) {
    merges.push(pair);
    for (const word of words) word.parts = joined(word.parts, pair);
  }
  const alphabet = byteAlphabet();
  const tokens = [
    ...alphabet,
    ...alphabet.map((letter) => letter + END),
    ...merges.map((pair) => pair.replace(" ", "")),
    BOS,
    EOS,
  ];
  return {
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: `#version: 0.2\n${merges.join("\n")}\n`,
    bosId: tokens.length - 2,
    eosId: tokens.length - 1,
  };
}

/** The pair that stands side by side most often; the first in the alphabet among equals; null when none is left. */
function commonest(words: readonly { parts: string[]; count: number }[]): string | null {
  const pairs = new Map<string, number>();
  for (const { parts, count } of words) {
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]!} ${parts[i + 1]!}`;
      pairs.set(pair, (pairs.get(pair) ?? 0) + count);
    }
  }
  let best: string | null = null;
  for (const [pair, count] of pairs) {
    const most = best === null ? -1 : pairs.get(best)!;
    if (count > most || (count === most && pair < best!)) best = pair;
  }
  return best;
}

function joined(parts: readonly string[], pair: string): string[] {
  const result: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (i + 1 < parts.length && `${parts[i]!} ${parts[i + 1]!}` === pair)
      result.push(parts[i]! + parts[++i]!);
    else result.push(parts[i]!);
  }
  return result;
}

/** GPT-2's printable stand-ins for the 256 bytes: themselves where they print, U+0100 and up for the rest. */
function byteAlphabet(): string[] {
  const prints = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  const printed: number[] = [];
  const others: number[] = [];
  for (let byte = 0; byte < 256; byte++) (prints(byte) ? printed : others).push(byte);
  return [
    ...printed.map((byte) => String.fromCharCode(byte)),
    ...others.map((_, i) => String.fromCharCode(256 + i)),
  ];
}

import { BYTE_CHARACTERS } from "../io/clip-vocabulary";
import { END_OF_WORD } from "../io/tokenizer-files";
import { pairKey } from "../io/byte-pair-tables";
import type { BytePairTables } from "../io/byte-pair-tables";

/** Heap keys are rank · POSITIONS + position: one comparison orders by rank, then from left to right. */
const POSITIONS = 2 ** 28;
const CACHE_ENTRIES = 8192;
/** Longer words hardly ever come twice; keeping them would let a text fill the memory. */
const CACHED_BYTES = 64;

/**
 * Byte-pair encoding of one word (Sennrich et al., arXiv 1508.07909): of all neighbouring pairs that the merge list
 * knows, the one of lowest rank is joined, the leftmost first, until none is left. A heap of candidate pairs makes it
 * O(n log n), so a word of 100,000 characters costs what 100,000 characters of prose do.
 */
export class BytePairEncoder {
  readonly #tables: BytePairTables;
  readonly #inner = new Int32Array(256);
  readonly #last = new Int32Array(256);
  readonly #cache = new Map<string, readonly number[]>();
  readonly #utf8 = new TextEncoder();

  /** @param unknownId stands for a byte that the vocabulary lacks */
  constructor(tables: BytePairTables, unknownId: number) {
    const { vocabulary } = tables;
    this.#tables = tables;
    BYTE_CHARACTERS.forEach((character, byte) => {
      this.#inner[byte] = vocabulary.get(character) ?? unknownId;
      this.#last[byte] = vocabulary.get(character + END_OF_WORD) ?? unknownId;
    });
  }

  /** The token ids of `word`, which is not empty. */
  encode(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    const bytes = this.#utf8.encode(word);
    const symbols = Array.from(bytes, (byte) => this.#inner[byte]!);
    symbols[symbols.length - 1] = this.#last[bytes[bytes.length - 1]!]!;
    const ids = this.#merge(symbols);
    if (bytes.length <= CACHED_BYTES) {
      if (this.#cache.size >= CACHE_ENTRIES) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  /** Joins in place; `next` and `previous` link the symbols that are left. */
  #merge(symbols: number[]): number[] {
    const { ranks, merges } = this.#tables;
    const count = symbols.length;
    const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
    const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    const gone = new Uint8Array(count);
    const heap: number[] = [];
    const rankAt = (at: number): number | undefined =>
      next[at]! < 0 ? undefined : ranks.get(pairKey(symbols[at]!, symbols[next[at]!]!));
    const offer = (at: number): void => {
      const rank = at < 0 ? undefined : rankAt(at);
      if (rank !== undefined) push(heap, rank * POSITIONS + at);
    };
    for (let i = 0; i < count; i++) offer(i);

    while (heap.length > 0) {
      const key = pop(heap);
      const at = key % POSITIONS;
      const joined = merges[(3 * (key - at)) / POSITIONS + 2]!;
      // An entry outlives its pair when a neighbour was joined first.
      const rank = gone[at] ? undefined : rankAt(at);
      if (rank === undefined || merges[3 * rank + 2] !== joined) continue;
      const right = next[at]!;
      const after = next[right]!;
      symbols[at] = joined;
      gone[right] = 1;
      next[at] = after;
      if (after >= 0) previous[after] = at;
      offer(previous[at]!);
      offer(at);
    }
    return symbols.filter((_, i) => !gone[i]);
  }
}

function push(heap: number[], key: number): void {
  let at = heap.push(key) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= key) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = key;
}

function pop(heap: number[]): number {
  const smallest = heap[0]!;
  const key = heap.pop()!;
  const count = heap.length;
  if (count === 0) return smallest;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= count) break;
    if (child + 1 < count && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= key) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = key;
  return smallest;
}

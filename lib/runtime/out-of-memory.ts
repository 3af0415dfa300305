const WORDS = /tried to allocate (\d+ bytes|[\d.]+ ?[KMG]?i?B)/i;
const FREE = /of which ([\d.]+ ?[KMG]?i?B) is free/i;

/**
 * An allocator's refusal in plain words: which operation asked for how much, and what may help.
 * @param message "OPERATION: " and what libtorch's allocator said
 */
export function outOfMemory(message: string, operation: string): string {
  const wanted = WORDS.exec(message)?.[1];
  const free = FREE.exec(message)?.[1];
  const figures = `${wanted === undefined ? "" : ` for ${wanted}`}${free === undefined ? "" : ` (${free} is free)`}`;
  return `${operation}: there is no memory${figures}; take smaller pictures or batches, dtype "bfloat16", or another device`;
}

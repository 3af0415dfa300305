import { setImmediate } from "node:timers/promises";
import type { CLIPTokenizer } from "../text/clip-tokenizer";

/** Ids looked at before anything else on the JS thread gets its turn. */
const TOGETHER = 512;

/**
 * Ids of the tokens that text is made of, ascending: the vocabulary's without special tokens, white space, and the parts
 * of a character that have no text of their own.
 */
export async function textIds(tokenizer: CLIPTokenizer): Promise<number[]> {
  const ids: number[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (id % TOGETHER === 0) await setImmediate();
    const text = textOf(tokenizer, id);
    if (text !== "" && !text.includes("\ufffd")) ids.push(id);
  }
  return ids;
}

/** "" for a special token, and for an id that a vocabulary with gaps lacks. */
function textOf(tokenizer: CLIPTokenizer, id: number): string {
  try {
    return tokenizer.decode([id], { skipSpecialTokens: true });
  } catch {
    return "";
  }
}

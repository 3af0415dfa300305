import { setImmediate } from "node:timers/promises";
import type { CLIPTokenizer } from "../text/clip-tokenizer";

/** Ids looked at before anything else on the JS thread gets its turn. */
const TOGETHER = 512;

/** What no one types: control characters, and the mark that stands for a part of a character. */
const UNTYPED = /[\p{Cc}\ufffd]/u;

const known = new WeakMap<CLIPTokenizer, Promise<readonly number[]>>();

/**
 * Ids of the tokens that text is made of, ascending: the vocabulary's without special tokens, white space, control
 * characters, and the parts of a character that have no text of their own.
 */
export function textIds(tokenizer: CLIPTokenizer): Promise<readonly number[]> {
  const ids = known.get(tokenizer) ?? find(tokenizer);
  known.set(tokenizer, ids);
  return ids;
}

async function find(tokenizer: CLIPTokenizer): Promise<readonly number[]> {
  const ids: number[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (id % TOGETHER === 0) await setImmediate();
    const text = textOf(tokenizer, id);
    if (text !== "" && !UNTYPED.test(text)) ids.push(id);
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

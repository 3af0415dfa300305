import { setImmediate } from "node:timers/promises";
import type { CLIPTokenizer } from "./clip-tokenizer";

/** Ids looked at before anything else on the JS thread gets its turn. */
const TOGETHER = 512;

/** What no one types: control characters, and the mark that stands for a part of a character. */
const UNTYPED = /[\p{Cc}\ufffd]/u;

const WORD = /^\p{L}{3,}$/u;

/**
 * Ids of the tokens that text is made of, ascending: the vocabulary's without special tokens, white space, control
 * characters, and the parts of a character that have no text of their own.
 */
export const textIds = once(async (tokenizer) => {
  const ids: number[] = [];
  for await (const [id, text] of tokens(tokenizer)) if (text !== "" && !UNTYPED.test(text)) ids.push(id);
  return ids;
});

/** Whole words: letters alone, three or more, one token each; in the order of their ids. */
export const wholeWords = once(async (tokenizer) => {
  const words: string[] = [];
  for await (const [id, text] of tokens(tokenizer)) {
    if (!WORD.test(text)) continue;
    const [row] = tokenizer.encode([text], { padding: false }) as [number[]];
    if (row.length === 3 && row[1] === id) words.push(text);
  }
  return words;
});

/** What is found in a vocabulary, looked for once. */
function once<T>(find: (tokenizer: CLIPTokenizer) => Promise<T[]>) {
  const known = new WeakMap<CLIPTokenizer, Promise<readonly T[]>>();
  return (tokenizer: CLIPTokenizer): Promise<readonly T[]> => {
    const found = known.get(tokenizer) ?? find(tokenizer);
    known.set(tokenizer, found);
    return found;
  };
}

/** Ids with their texts: "" for a special token, and for an id that a vocabulary with gaps lacks. */
async function* tokens(tokenizer: CLIPTokenizer): AsyncGenerator<[id: number, text: string]> {
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (id % TOGETHER === 0) await setImmediate();
    let text = "";
    try {
      text = tokenizer.decode([id], { skipSpecialTokens: true });
    } catch {
      // The id stands for nothing.
    }
    yield [id, text];
  }
}

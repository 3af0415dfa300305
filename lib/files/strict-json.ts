import { excerpt } from "./excerpt";

/** Quotes, brackets, and what no plain whole number has. */
const TOKEN = /["{}[\]]|-|\d[.eE]/g;
const NUMBER = /[-+.\deE]+/y;
const KEY_END = /[ \t\n\r]*:/y;
const HALF_PAIR = /\p{Surrogate}/u;

/** Lists and objects within one another, as many as the format's own reader takes. */
const MAX_DEPTH = 127;

/** Finds what `JSON.parse` lets pass and a file format must not: a key given twice in one object, numbers that are
 *  not plain non-negative integers, escapes that spell half a surrogate pair, and nesting deeper than 127.
 *  @param text JSON that `JSON.parse` accepts
 *  @returns the first flaw in words, or null */
export function jsonFlaw(text: string): string | null {
  const within: (Set<string> | null)[] = [];
  TOKEN.lastIndex = 0;
  for (let found = TOKEN.exec(text); found !== null; found = TOKEN.exec(text)) {
    const token = found[0];
    if (token === '"') {
      const end = stringEnd(text, found.index);
      KEY_END.lastIndex = TOKEN.lastIndex = end + 1;
      const isKey = KEY_END.test(text);
      const escaped = text.slice(found.index + 1, end);
      // Bytes that are UTF-8 cannot spell half a pair; only an escape can.
      if (!isKey && !escaped.includes("\\u")) continue;
      const value = escaped.includes("\\") ? (JSON.parse(`"${escaped}"`) as string) : escaped;
      if (HALF_PAIR.test(value)) return `the string ${excerpt(`"${escaped}"`)} has half a surrogate pair`;
      if (!isKey) continue;
      const keys = within.at(-1)!;
      if (keys.has(value)) return `the key ${excerpt(JSON.stringify(value))} stands twice in one object`;
      keys.add(value);
    } else if (token === "{" || token === "[") {
      if (within.length === MAX_DEPTH) return `lists and objects stand more than ${MAX_DEPTH} deep`;
      within.push(token === "{" ? new Set() : null);
    } else if (token === "}" || token === "]") {
      within.pop();
    } else {
      return `the number ${excerpt(numberAt(text, found.index))} is not a non-negative integer`;
    }
  }
  return null;
}

/** The number that the character at `at` belongs to. */
function numberAt(text: string, at: number): string {
  let start = at;
  while (start > 0 && "-+.0123456789eE".includes(text[start - 1]!)) start--;
  NUMBER.lastIndex = start;
  return NUMBER.exec(text)![0];
}

/** Index of the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let end = start; ;) {
    end = text.indexOf('"', end + 1);
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}

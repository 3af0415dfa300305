import { excerpt } from "./excerpt";

const NUMBER = /[-+.0-9eE]+/y;
const HALF_PAIR = /\p{Surrogate}/u;

/** Lists and objects within one another, as many as the format's own reader takes. */
const MAX_DEPTH = 127;

/** Finds what `JSON.parse` lets pass and a file format must not: a key given twice in one object, numbers that are
 *  not plain non-negative integers, escapes that spell half a surrogate pair, and nesting deeper than 127.
 *  @param text JSON that `JSON.parse` accepts
 *  @returns the first flaw in words, or null */
export function jsonFlaw(text: string): string | null {
  const objects: (Set<string> | null)[] = [];
  let keyExpected = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"') {
      const end = stringEnd(text, at);
      const token = text.slice(at, end);
      // Bytes that are UTF-8 cannot spell half a pair; only an escape can.
      if (token.includes("\\u") && HALF_PAIR.test(JSON.parse(token) as string)) {
        return `the string ${excerpt(token)} has half a surrogate pair`;
      }
      if (keyExpected) {
        const key = JSON.parse(token) as string;
        const keys = objects.at(-1)!;
        if (keys.has(key)) return `the key ${excerpt(JSON.stringify(key))} stands twice in one object`;
        keys.add(key);
        keyExpected = false;
      }
      at = end - 1;
    } else if (char === "{" || char === "[") {
      if (objects.length === MAX_DEPTH) return `lists and objects stand more than ${MAX_DEPTH} deep`;
      objects.push(char === "{" ? new Set() : null);
      keyExpected = char === "{";
    } else if (char === "}" || char === "]") {
      objects.pop();
      keyExpected = false;
    } else if (char === ",") {
      keyExpected = objects.at(-1) instanceof Set;
    } else if (char === "-" || isDigit(char)) {
      let end = at + 1;
      while (isDigit(text[end])) end++;
      if (char === "-" || ".eE".includes(text[end] ?? " ")) {
        NUMBER.lastIndex = at;
        return `the number ${excerpt(NUMBER.exec(text)![0])} is not a non-negative integer`;
      }
      at = end - 1;
    }
  }
  return null;
}

function isDigit(char: string | undefined): boolean {
  return char !== undefined && char >= "0" && char <= "9";
}

/** Index just past the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
}

const NUMBER = /[-+.0-9eE]+/y;

/** Finds what `JSON.parse` lets pass and a file format must not: a key given twice in one object, and numbers
 *  that are not plain non-negative integers.
 *  @param text JSON that `JSON.parse` accepts
 *  @returns the first flaw in words, or null */
export function jsonFlaw(text: string): string | null {
  const objects: (Set<string> | null)[] = [];
  let keyExpected = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"') {
      const end = stringEnd(text, at);
      if (keyExpected) {
        const key = JSON.parse(text.slice(at, end)) as string;
        const keys = objects.at(-1)!;
        if (keys.has(key)) return `the key ${JSON.stringify(key)} stands twice in one object`;
        keys.add(key);
        keyExpected = false;
      }
      at = end - 1;
    } else if (char === "{") {
      objects.push(new Set());
      keyExpected = true;
    } else if (char === "[") {
      objects.push(null);
    } else if (char === "}" || char === "]") {
      objects.pop();
      keyExpected = false;
    } else if (char === ",") {
      keyExpected = objects.at(-1) instanceof Set;
    } else if (char === "-" || (char >= "0" && char <= "9")) {
      NUMBER.lastIndex = at;
      const token = NUMBER.exec(text)![0];
      if (!/^[0-9]+$/.test(token)) return `the number ${token} is not a non-negative integer`;
      at += token.length - 1;
    }
  }
  return null;
}

/** Index just past the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
}

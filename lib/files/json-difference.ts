import { isJsonObject } from "./json-file";

/** Where two JSON values first differ, and by what. */
export interface JsonDifference {
  /** "classes[0].rates.1.value"; "" for the whole. */
  path: string;
  /** As JSON, cut to 60 characters; "nothing" where the key is not there. */
  first: string;
  second: string;
}

/** Compares JSON values, keys in any order. @returns null where they are the same */
export function jsonDifference(first: unknown, second: unknown, path = ""): JsonDifference | null {
  if (Array.isArray(first) && Array.isArray(second) && first.length === second.length)
    return firstOf(first.map((_, i) => () => jsonDifference(first[i], second[i], `${path}[${i}]`)));
  if (isJsonObject(first) && isJsonObject(second)) {
    const keys = new Set([...Object.keys(first), ...Object.keys(second)]);
    const below = path === "" ? "" : `${path}.`;
    return firstOf([...keys].map((key) => () => jsonDifference(first[key], second[key], below + key)));
  }
  return Object.is(first, second) ? null : { path, first: shown(first), second: shown(second) };
}

function firstOf(comparisons: readonly (() => JsonDifference | null)[]): JsonDifference | null {
  for (const compare of comparisons) {
    const found = compare();
    if (found !== null) return found;
  }
  return null;
}

function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

import { jsonFlaw } from "../files/strict-json";

/** A header's content, before anything but its spelling has been checked. */
export interface RawHeader {
  /** What stands under each name. */
  readonly entries: ReadonlyMap<string, unknown>;
  /** What stands under `__metadata__`; undefined where that is missing. */
  readonly metadata: unknown;
}

/** Characters of the longest header that is looked at: a match keeps a place to go back to for each, on a stack of its own. */
const LONGEST = 2 ** 20;

const METADATA = /"__metadata__":(\{[^{}]*\})(,|\} *$)/y;
const WHOLE = String.raw`(?:0|[1-9]\d{0,15})`;
const ENTRY = new RegExp(
  String.raw`"([^"\\\x00-\x1f]*)":\{"dtype":"(\w+)","shape":\[((?:${WHOLE}(?:,${WHOLE})*)?)\],"data_offsets":\[(${WHOLE}),(${WHOLE})\]\}(,|\} *$)`,
  "y",
);

/**
 * Reads a header that is spelled as the format's writers spell it: entries without spaces and escapes, each with its three
 * fields in their order, plain numbers, metadata first. That takes a match for each tensor, where JSON of any spelling has to
 * be parsed and searched for what `JSON.parse` lets pass.
 * @returns null for any other spelling, and for what is no header
 */
export function plainHeader(text: string): RawHeader | null {
  if (text.length > LONGEST) return null;
  const entries = new Map<string, unknown>();
  let metadata: unknown;
  let position = 1;
  let last = false;
  const next = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found === null) return null;
    position = pattern.lastIndex;
    last = !found[0].endsWith(",");
    return found;
  };
  const texts = next(METADATA)?.[1];
  if (texts !== undefined) {
    try {
      metadata = JSON.parse(texts);
    } catch {
      return null;
    }
    if (jsonFlaw(texts) !== null) return null;
  }
  while (!last) {
    const found = next(ENTRY);
    if (found === null) return null;
    const name = found[1]!;
    const sizes = found[3]!;
    if (name === "__metadata__" || entries.has(name)) return null;
    entries.set(name, {
      dtype: found[2],
      shape: sizes === "" ? [] : sizes.split(",").map(Number),
      data_offsets: [Number(found[4]), Number(found[5])],
    });
  }
  return { entries, metadata };
}

import { KpopError } from "../errors";

/** Lists and objects within one another. */
const MAX_DEPTH = 64;
/** Half a surrogate pair, which no UTF-8 has. */
const HALF_PAIR = /\p{Surrogate}/u;

/**
 * JSON in the one form that RFC 8785 (JSON Canonicalization Scheme) gives a value: no white space, keys in the order of
 * their UTF-16 code units, numbers and strings as ECMAScript writes them. Keys whose value is undefined are left out.
 * @throws INVALID_ARGUMENT on what has no such form: NaN, infinities, half surrogate pairs, what JSON has no word for, and
 *   nesting deeper than 64
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number" && Number.isFinite(value)) return JSON.stringify(value);
  if (typeof value === "string" && !HALF_PAIR.test(value)) return JSON.stringify(value);
  if (typeof value !== "object" || depth === MAX_DEPTH) throw withoutForm(value, depth);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(",")}]`;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${write(key, depth)}:${write(member, depth + 1)}`)
    .join(",")}}`;
}

function withoutForm(value: unknown, depth: number): KpopError {
  const what =
    depth === MAX_DEPTH && typeof value === "object"
      ? `lists and objects more than ${MAX_DEPTH} deep`
      : typeof value === "string"
        ? "a text with half a surrogate pair"
        : String(value);
  return new KpopError("INVALID_ARGUMENT", `Canonical JSON (RFC 8785) has no form for ${what}`);
}

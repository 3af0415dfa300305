/** A text of the command line that has not the form of a value. */
export class FormError extends Error {}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const PATTERN = /^\/(.+)\/([a-z]*)$/s;

/** A finite decimal number. @throws FormError */
export function readNumber(text: string): number {
  const value = NUMBER.test(text.trim()) ? Number(text) : NaN;
  if (!Number.isFinite(value)) throw new FormError("Expected a number.");
  return value;
}

/** @throws FormError */
export function readInteger(text: string): number {
  const value = NUMBER.test(text.trim()) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw new FormError("Expected a whole number.");
  return value;
}

/** Two numbers, FROM:TO. @throws FormError */
export function readRange(text: string): [number, number] {
  const [from, to, ...rest] = text.split(":");
  if (to === undefined || rest.length > 0)
    throw new FormError("Expected FROM:TO, two numbers such as 0.2:0.4.");
  return [readNumber(from!), readNumber(to)];
}

/** A number, or a value that changes over a run: FROM:TO:SHAPE[:WARMUP]. @throws FormError */
export function readSchedule(text: string): number | object {
  if (!text.includes(":")) return readNumber(text);
  const [from, to, shape, warmup, ...rest] = text.split(":");
  try {
    if (shape === undefined || shape === "" || rest.length > 0) throw new FormError("parts");
    return {
      from: readNumber(from!),
      to: readNumber(to!),
      shape,
      ...(warmup === undefined ? {} : { warmup: readInteger(warmup) }),
    };
  } catch {
    throw new FormError("Expected a number, or FROM:TO:SHAPE[:WARMUP] such as 1e-4:1e-5:cosine:50.");
  }
}

/** A text, or a pattern when it is written as one: /attn2/. @throws FormError */
export function readTextOrPattern(text: string): string | RegExp {
  const pattern = PATTERN.exec(text);
  if (pattern === null) return text;
  try {
    return new RegExp(pattern[1]!, pattern[2]);
  } catch (error) {
    throw new FormError(`${(error as Error).message}.`);
  }
}

import { InvalidArgumentError } from "commander";

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const PATTERN = /^\/(.+)\/([a-z]*)$/s;

/** A finite decimal number. @throws InvalidArgumentError */
export function parseNumber(text: string): number {
  const value = NUMBER.test(text.trim()) ? Number(text) : NaN;
  if (!Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

/** @throws InvalidArgumentError */
export function parseInteger(text: string): number {
  const value = NUMBER.test(text.trim()) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("Expected a whole number.");
  return value;
}

/** Two numbers, FROM:TO. @throws InvalidArgumentError */
export function parseRange(text: string): [number, number] {
  const [from, to, ...rest] = text.split(":");
  if (to === undefined || rest.length > 0)
    throw new InvalidArgumentError("Expected FROM:TO, two numbers such as 0.2:0.4.");
  return [parseNumber(from!), parseNumber(to)];
}

/** A number, or a value that changes over a run: FROM:TO:SHAPE[:WARMUP]. @throws InvalidArgumentError */
export function parseNumberOrSchedule(text: string): number | object {
  if (!text.includes(":")) return parseNumber(text);
  const [from, to, shape, warmup, ...rest] = text.split(":");
  try {
    if (shape === undefined || shape === "" || rest.length > 0) throw new Error("parts");
    return {
      from: parseNumber(from!),
      to: parseNumber(to!),
      shape,
      ...(warmup === undefined ? {} : { warmup: parseInteger(warmup) }),
    };
  } catch {
    throw new InvalidArgumentError(
      "Expected a number, or FROM:TO:SHAPE[:WARMUP] such as 1e-4:1e-5:cosine:50.",
    );
  }
}

/** A text, or a pattern when it is written as one: /attn2/. @throws InvalidArgumentError */
export function parseTextOrPattern(text: string): string | RegExp {
  const pattern = PATTERN.exec(text);
  if (pattern === null) return text;
  try {
    return new RegExp(pattern[1]!, pattern[2]);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}

/** For options that may be given several times. */
export function collect(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text];
}

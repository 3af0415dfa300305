import { KpopError } from "./errors";

/** How a value looks in an error sentence: short, with its type. */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value === "string")
    return `${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)} (string)`;
  if (typeof value === "function") return "a function";
  if (typeof value === "object") {
    // Getters may throw, and JSON knows no BigInt and no circle.
    try {
      if (Array.isArray(value)) return `${JSON.stringify(value).slice(0, 60)} (array of ${value.length})`;
      return `an object of ${value.constructor?.name ?? "no class"}`;
    } catch {
      return Array.isArray(value) ? `an array of ${value.length}` : "an object";
    }
  }
  const plain = value as number | bigint | boolean | symbol;
  return `${String(plain)} (${typeof value})`;
}

/** The library's one sentence for a bad argument. */
export function invalid(name: string, expected: string, actual: unknown): KpopError {
  return new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${name} to be ${expected} but received ${describe(actual)}`,
  );
}

/** A finite number in [minimum, maximum]. @throws INVALID_ARGUMENT */
export function finite(name: string, value: unknown, minimum = -Infinity, maximum = Infinity): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < minimum || value > maximum) {
    throw invalid(name, `a finite number${range(minimum, maximum)}`, value);
  }
  return value;
}

/** An integer in [minimum, maximum]. @throws INVALID_ARGUMENT */
export function integer(name: string, value: unknown, minimum = -Infinity, maximum = Infinity): number {
  if (!Number.isSafeInteger(value) || (value as number) < minimum || (value as number) > maximum) {
    throw invalid(name, `an integer${range(minimum, maximum)}`, value);
  }
  return value as number;
}

/** One of a closed set of strings. @throws INVALID_ARGUMENT */
export function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T))
    throw invalid(name, `one of ${allowed.map((a) => `"${a}"`).join(", ")}`, value);
  return value as T;
}

/** A string with at least one character that is not white space. @throws INVALID_ARGUMENT */
export function nonEmptyString(name: string, value: unknown): string {
  if (typeof value !== "string" || value.trim() === "") throw invalid(name, "a non-empty string", value);
  return value;
}

/** A path: a non-empty string without NUL, which no file system takes. @throws INVALID_ARGUMENT */
export function filePath(name: string, value: unknown): string {
  const path = nonEmptyString(name, value);
  if (path.includes("\0")) throw invalid(name, "a path without NUL characters", value);
  return path;
}

/** Paths, none of them twice; none where nothing is given. @throws INVALID_ARGUMENT */
export function filePaths(name: string, value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid(name, "a list of paths", value);
  const paths = value.map((path) => filePath(name, path));
  if (new Set(paths).size !== paths.length) throw invalid(name, "free of repetitions", value);
  return paths;
}

/** True or false, and nothing that only stands for them. @throws INVALID_ARGUMENT */
export function flag(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw invalid(name, "true or false", value);
  return value;
}

/** Rejects keys that no one reads, so that a typing mistake never passes as a default. @throws INVALID_ARGUMENT */
export function knownKeys(name: string, value: object, known: readonly string[]): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(name, "an object", value);
  const unknown = Object.keys(value).filter((key) => !known.includes(key));
  if (unknown.length === 0) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Unknown ${unknown.length === 1 ? "option" : "options"} ${unknown.map((k) => `"${k}"`).join(", ")} in ${name}; it takes ${known.join(", ")}`,
  );
}

/** The options that a long job takes beside its own: `signal`, and listeners by name. @throws INVALID_ARGUMENT */
export function jobOptions(options: { signal?: unknown }, ...listeners: readonly string[]): void {
  const { signal } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalid("signal", "an AbortSignal", signal);
  for (const name of listeners) {
    const listener = (options as Record<string, unknown>)[name];
    if (listener !== undefined && typeof listener !== "function") throw invalid(name, "a function", listener);
  }
}

/**
 * Tells a job's listener. One that is async is waited for: what it rejects with ends the job, as what a plain one throws
 * does, and is no unhandled rejection.
 */
export async function tell<A extends unknown[]>(
  listener: ((...report: A) => unknown) | undefined,
  ...report: A
): Promise<void> {
  await listener?.(...report);
}

function range(minimum: number, maximum: number): string {
  if (minimum === -Infinity && maximum === Infinity) return "";
  if (maximum === Infinity) return ` >= ${minimum}`;
  if (minimum === -Infinity) return ` <= ${maximum}`;
  return ` from ${minimum} to ${maximum}`;
}

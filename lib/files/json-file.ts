import { readFile, stat } from "node:fs/promises";
import { KpopError } from "../errors";
import { onDisk } from "./system-error";

/** Far more than any config or vocabulary takes; keeps a wrong file from filling the memory. */
const MAX_BYTES = 64 * 2 ** 20;

/** Reads a small text file. @throws NOT_FOUND, INVALID_CHECKPOINT when it is over 64 MiB, IO_ERROR */
export async function readText(path: string): Promise<string> {
  return await onDisk("read", path, async () => {
    const found = await stat(path);
    if (!found.isFile()) throw new KpopError("IO_ERROR", `Cannot read ${path}: it is not a file`);
    if (found.size > MAX_BYTES) {
      throw new KpopError("INVALID_CHECKPOINT", `${path} has ${found.size} bytes, too many for a text file`);
    }
    return await readFile(path, "utf8");
  });
}

/** `readText`; null where there is no file. */
export async function readTextIfThere(path: string): Promise<string | null> {
  return await readText(path).catch((error: unknown) => {
    if (error instanceof KpopError && error.code === "NOT_FOUND") return null;
    throw error;
  });
}

/** Reads a JSON object. @throws NOT_FOUND, INVALID_CHECKPOINT when it is something else, IO_ERROR */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  return parseJsonObject(await readText(path), path);
}

/** @param what the text's origin, for the error. @throws INVALID_CHECKPOINT */
export function parseJsonObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new KpopError("INVALID_CHECKPOINT", `${what} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (isJsonObject(value)) return value;
  throw new KpopError("INVALID_CHECKPOINT", `Expected ${what} to hold a JSON object`);
}

export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An object but for some of its keys. */
export function without<T extends object, const K extends keyof T>(
  value: T,
  ...keys: readonly K[]
): Omit<T, K> {
  const rest = Object.entries(value).filter(([key]) => !keys.includes(key as K));
  return Object.fromEntries(rest) as Omit<T, K>;
}

/** The usual form of config files: two spaces, a line end at the end. */
export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

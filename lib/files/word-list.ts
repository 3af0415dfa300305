import { readFile } from "node:fs/promises";
import { KpopError } from "../errors";
import { onDisk } from "./system-error";

/**
 * The lines of a text file, without white space around them and without empty ones.
 * @throws NOT_FOUND, IO_ERROR, INVALID_ARGUMENT where there are none
 */
export async function readWords(file: string): Promise<string[]> {
  const text = await onDisk("read the words from", file, () => readFile(file, "utf8"));
  const lines = text.split("\n").map((line) => line.trim());
  const words = lines.filter((line) => line !== "");
  if (words.length > 0) return words;
  throw new KpopError("INVALID_ARGUMENT", `Expected words in ${file}, one a line, but it has none`);
}

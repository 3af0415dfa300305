import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { KpopError } from "../index";
import { NEIGHBOUR_FLAGS, onDisk } from "../internal";
import { optionValues } from "./option-flags";

/**
 * The option `neighbours` as the flags give it; nothing where none of them is given.
 * @throws NOT_FOUND, IO_ERROR, INVALID_ARGUMENT when the file of words has none
 */
export async function neighbours(command: Command): Promise<{ neighbours?: object }> {
  const given = optionValues(command, NEIGHBOUR_FLAGS);
  const { neighbours: choose, neighbourCount: count } = given;
  const file = given["neighbourWords"] as string | undefined;
  if (Object.keys(given).length === 0) return {};
  const words = file === undefined ? undefined : await readWords(file);
  return { neighbours: { choose, count, words } };
}

/** The lines of a file without white space around them, empty ones left out. */
async function readWords(file: string): Promise<string[]> {
  const text = await onDisk("read the words from", file, () => readFile(file, "utf8"));
  const lines = text.split("\n").map((line) => line.trim());
  const words = lines.filter((line) => line !== "");
  if (words.length > 0) return words;
  throw new KpopError("INVALID_ARGUMENT", `Expected words in ${file}, one a line, but it has none`);
}

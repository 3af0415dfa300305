import type { Command } from "commander";
import { NEIGHBOUR_FLAGS, readWords } from "../internal";
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

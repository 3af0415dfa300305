import type { Command } from "commander";
import { PromptKey } from "../index";
import { PASSPHRASE_VARIABLE } from "./passphrase";

/** Flags of every command that takes a key. */
export interface KeyFlags {
  key?: string;
  passphraseFile?: string;
  anyModel?: boolean;
}

/** @param what a key does there, for the help */
export function addKeyOptions(command: Command, what: string): Command {
  return command
    .option("--key <file>", what)
    .option(
      "--passphrase-file <file>",
      `passphrase of an encrypted key, in a file (or in $${PASSPHRASE_VARIABLE})`,
    )
    .option("--any-model", "do not warn of a key that was made for another model");
}

/** Ends with wrong usage on flags that say something about a key where there is none. */
export function checkKeyFlags(command: Command, { key, passphraseFile, anyModel }: KeyFlags): void {
  if (key !== undefined) return;
  if (passphraseFile !== undefined) command.error("error: --passphrase-file needs --key <file>");
  if (anyModel === true) command.error("error: --any-model needs --key <file>");
}

/** The key that was given, if any. @throws what `PromptKey.load` throws */
export async function loadKey(
  { key, anyModel = false }: KeyFlags,
  passphrase: string | undefined,
): Promise<PromptKey | undefined> {
  if (key === undefined) return undefined;
  return await PromptKey.load(key, { anyModel, ...(passphrase === undefined ? {} : { passphrase }) });
}

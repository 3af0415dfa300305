import { readFile } from "node:fs/promises";
import { KpopError } from "../index";
import { onDisk } from "../internal";

/** Variable that a passphrase may come in; a flag for it would show in the list of processes. */
export const PASSPHRASE_VARIABLE = "KPOP_PASSPHRASE";

/**
 * The passphrase for a key: the file's text without the line end, else the variable's; undefined without either.
 * @throws NOT_FOUND, IO_ERROR, INVALID_ARGUMENT when it is empty
 */
export async function readPassphrase(file: string | undefined): Promise<string | undefined> {
  const passphrase =
    file === undefined
      ? process.env[PASSPHRASE_VARIABLE]
      : (await onDisk("read the passphrase from", file, () => readFile(file, "utf8"))).replace(/\r?\n$/, "");
  if (passphrase?.trim() !== "") return passphrase;
  throw new KpopError(
    "INVALID_ARGUMENT",
    file === undefined
      ? `${PASSPHRASE_VARIABLE} is set but empty; unset it, or give it the passphrase`
      : `Expected the passphrase in ${file} but the file is empty`,
  );
}

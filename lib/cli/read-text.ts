import { readFile } from "node:fs/promises";
import { KpopError } from "../index";

/** A file's text. @param what it holds, for messages: "the passphrase" @throws NOT_FOUND, IO_ERROR */
export async function readText(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new KpopError(
      missing ? "NOT_FOUND" : "IO_ERROR",
      `Cannot read ${what} from ${file}: ${missing ? "it does not exist" : (error as Error).message}`,
      { cause: error },
    );
  }
}

import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { KpopError } from "../errors";
import { onDisk } from "./system-error";

/**
 * Makes a folder and those above it, where they are not there. Step by step: Node's own `recursive` says of a read-only
 * disk that the folder does not exist, and never returns below /proc.
 * @throws IO_ERROR, NO_SPACE
 */
export async function makeFolder(path: string): Promise<void> {
  await onDisk("write", path, () => makeBelow(resolve(path), path));
}

async function makeBelow(folder: string, path: string): Promise<void> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found?.isDirectory() === true) return;
  if (found !== null) throw new KpopError("IO_ERROR", `Cannot write ${path}: ${folder} is not a folder`);
  await makeBelow(dirname(folder), path);
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    // Another process may have made it in between.
    if (error.code === "EEXIST") return;
    if (error.code !== "ENOENT") throw error;
    throw new KpopError("IO_ERROR", `Cannot write ${path}: no folder can be made in ${dirname(folder)}`, {
      cause: error,
    });
  });
}

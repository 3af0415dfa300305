import { mkdir, rmdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { KpopError } from "../errors";
import { onDisk } from "./system-error";

/**
 * Makes a folder and those above it, where they are not there. Step by step: Node's own `recursive` says of a read-only
 * disk that the folder does not exist, and never returns below /proc. Where a step fails, those before it are undone.
 * @returns the uppermost folder that was made; undefined when all were there
 * @throws IO_ERROR, NO_SPACE
 */
export async function makeFolder(path: string): Promise<string | undefined> {
  return await onDisk("write", path, () => makeFolderAsTold(path));
}

/** `makeFolder` for callers with words of their own: what the system refuses is thrown as the system says it. */
export async function makeFolderAsTold(path: string): Promise<string | undefined> {
  const made: string[] = [];
  try {
    await makeBelow(resolve(path), path, made);
  } catch (error) {
    for (const folder of made.reverse()) await rmdir(folder).catch(() => undefined);
    throw error;
  }
  return made[0];
}

async function makeBelow(folder: string, path: string, made: string[]): Promise<void> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found?.isDirectory() === true) return;
  if (found !== null) throw new KpopError("IO_ERROR", `Cannot write ${path}: ${folder} is not a folder`);
  await makeBelow(dirname(folder), path, made);
  try {
    await mkdir(folder);
    made.push(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another process may have made it in between.
    if (code === "EEXIST") return;
    if (code !== "ENOENT") throw error;
    throw new KpopError("IO_ERROR", `Cannot write ${path}: no folder can be made in ${dirname(folder)}`, {
      cause: error,
    });
  }
}

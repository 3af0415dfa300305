import { lstat, mkdir, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { KpopError } from "../errors";
import { makeFolder } from "./make-folder";
import { onDisk } from "./system-error";
import { asideName, putBack, removeAbandoned, temporaryBeside } from "./temporaries";

/** Folders in which this process has looked for what killed ones left. */
const tidied = new Set<string>();

/** Writes a file so that `path` holds the old content or the whole new one, never a part: a temporary file in the
 *  same folder, fsync, rename. The temporary is removed when anything fails. A symbolic link stays, and what it leads to
 *  is written.
 *  @param content the whole content (text as UTF-8), or a function that writes it
 *  @param options.mode who may read and write it, such as 0o600; default what the process gives its files
 *  @throws NO_SPACE, NOT_FOUND, IO_ERROR */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array | ((file: FileHandle) => Promise<void>),
  options: { mode?: number } = {},
): Promise<void> {
  await onDisk("write", path, async () => {
    const target = await throughLink(path);
    await tidyOnce(dirname(target));
    const temporary = temporaryBeside(target);
    try {
      const file = await open(temporary, "wx", options.mode);
      try {
        if (typeof content === "function") await content(file);
        else await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await syncDirectory(dirname(target));
  });
}

export interface DirectoryOptions {
  /** Replace a folder that has something in it; default false. */
  force?: boolean;
  /** What of a folder is not to be lost, by name: while there is any, `force` does not apply. Default: nothing. */
  foreign?: (folder: string) => Promise<string[]>;
}

/** Makes a folder whole or not at all: filled under a temporary name beside it, then renamed. With `force` the old
 *  folder stands until the new one is complete, and comes back if the exchange fails; where a process is killed in the
 *  exchange, the next call for the same folder puts the old one back. A symbolic link to a folder stays.
 *  @throws OUTPUT_NOT_EMPTY when something is there and `force` does not apply; NO_SPACE, IO_ERROR */
export async function writeDirectoryAtomically(
  path: string,
  fill: (temporary: string) => Promise<void>,
  options: DirectoryOptions = {},
): Promise<void> {
  await onDisk("write", resolve(path), async () => {
    const target = await throughLink(path);
    await tidyBeside(target);
    await checkTarget(target, options);
    await makeFolder(dirname(target));
    const temporary = temporaryBeside(target);
    try {
      await mkdir(temporary);
      await fill(temporary);
      await exchange(temporary, target, options);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
    await syncDirectory(dirname(target));
  });
}

/** Throws when the folder could not be written, before any work is spent on what goes into it. */
export function checkTarget(path: string, options: DirectoryOptions = {}): Promise<void> {
  return onDisk("write", path, () => checkFolder(path, options));
}

async function checkFolder(path: string, options: DirectoryOptions): Promise<void> {
  const target = await throughLink(path);
  const found = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found === null) return;
  if (!found.isDirectory()) {
    throw new KpopError("OUTPUT_NOT_EMPTY", `Cannot write the folder ${path}: a file of that name exists`);
  }
  const entries = await readdir(target);
  if (entries.length === 0) return;
  if (options.force !== true) {
    throw new KpopError(
      "OUTPUT_NOT_EMPTY",
      `The folder ${path} is not empty; choose another one, or ask for it to be replaced (force)`,
    );
  }
  await checkForeign(target, path, options);
}

/** Clears away beside `path` what processes left that were killed while they wrote. */
export async function tidyBeside(path: string): Promise<void> {
  await putBack(path);
  await removeAbandoned(dirname(path));
}

/** The absolute path that is written for `path`: what a symbolic link there leads to.
 *  @throws IO_ERROR on a link to nothing, and on what is neither file nor folder */
export async function throughLink(path: string): Promise<string> {
  const absolute = resolve(path);
  const found = await lstat(absolute).catch(() => null);
  if (found === null || found.isFile() || found.isDirectory()) return absolute;
  if (!found.isSymbolicLink()) {
    throw new KpopError("IO_ERROR", `Cannot write ${path}: a device or the like is there, and no file`);
  }
  try {
    return await realpath(absolute);
  } catch (cause) {
    throw new KpopError(
      "IO_ERROR",
      `Cannot write ${path}: it is a symbolic link that leads to nothing; remove it, or make what it leads to`,
      { cause },
    );
  }
}

async function checkForeign(folder: string, path: string, { foreign }: DirectoryOptions): Promise<void> {
  const names = (await foreign?.(folder)) ?? [];
  if (names.length === 0) return;
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  throw new KpopError(
    "OUTPUT_NOT_EMPTY",
    `The folder ${path} is not replaced, because it holds what belongs to no saved model: ` +
      `${names.slice(0, 5).join(", ")}${more}. Move that away, or choose another folder`,
  );
}

async function exchange(temporary: string, target: string, options: DirectoryOptions): Promise<void> {
  await checkTarget(target, options);
  const old = asideName(target);
  const stood = await rename(target, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  try {
    // Again, for what came into the folder since: nobody finds it under this name.
    if (stood) await checkForeign(old, target, options);
    await rename(temporary, target);
  } catch (error) {
    if (stood) await rename(old, target);
    throw error;
  }
  if (!stood) return;
  // From here on it is waste, whoever finds it.
  const waste = temporaryBeside(target);
  await rename(old, waste);
  await rm(waste, { recursive: true, force: true });
}

async function tidyOnce(folder: string): Promise<void> {
  if (tidied.has(folder)) return;
  tidied.add(folder);
  await removeAbandoned(folder);
}

async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch {
    // Not every file system lets a folder be synced; the rename itself has already happened.
  }
}

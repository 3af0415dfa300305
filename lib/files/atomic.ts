import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { KpopError } from "../errors";
import { onDisk } from "./system-error";

/** Writes a file so that `path` holds the old content or the whole new one, never a part: a temporary file in the
 *  same folder, fsync, rename. The temporary is removed when anything fails.
 *  @param content the whole content (text as UTF-8), or a function that writes it
 *  @throws NO_SPACE, NOT_FOUND, IO_ERROR */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array | ((file: FileHandle) => Promise<void>),
): Promise<void> {
  const temporary = sibling(path);
  await onDisk("write", path, async () => {
    try {
      const file = await open(temporary, "wx");
      try {
        if (typeof content === "function") await content(file);
        else await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await syncDirectory(dirname(path));
  });
}

export interface DirectoryOptions {
  /** Replace a folder that has something in it; default false. */
  force?: boolean;
  /** Whether a non-empty folder with these entries may be replaced under `force`; default: any. */
  replaceable?: (entries: string[]) => boolean;
}

/** Makes a folder whole or not at all: filled under a temporary name beside it, then renamed. With `force` the old
 *  folder stands until the new one is complete, and comes back if the exchange fails.
 *  @throws OUTPUT_NOT_EMPTY when something is there and `force` does not apply; NO_SPACE, IO_ERROR */
export async function writeDirectoryAtomically(
  path: string,
  fill: (temporary: string) => Promise<void>,
  options: DirectoryOptions = {},
): Promise<void> {
  const target = resolve(path);
  await onDisk("write", target, async () => {
    await checkTarget(target, options);
    await mkdir(dirname(target), { recursive: true });
    const temporary = sibling(target);
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
export async function checkTarget(path: string, options: DirectoryOptions = {}): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found === null) return;
  if (!found.isDirectory()) {
    throw new KpopError("OUTPUT_NOT_EMPTY", `Cannot write the folder ${path}: a file of that name exists`);
  }
  const entries = await readdir(path);
  if (entries.length === 0) return;
  if (options.force !== true) {
    throw new KpopError(
      "OUTPUT_NOT_EMPTY",
      `The folder ${path} is not empty; choose another one, or ask for it to be replaced (force)`,
    );
  }
  if (options.replaceable !== undefined && !options.replaceable(entries)) {
    throw new KpopError(
      "OUTPUT_NOT_EMPTY",
      `The folder ${path} does not look like a saved model, so it is not replaced; remove it yourself or choose another one`,
    );
  }
}

async function exchange(temporary: string, target: string, options: DirectoryOptions): Promise<void> {
  await checkTarget(target, options);
  const old = sibling(target);
  const stood = await rename(target, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  try {
    await rename(temporary, target);
  } catch (error) {
    if (stood) await rename(old, target);
    throw error;
  }
  if (stood) await rm(old, { recursive: true, force: true });
}

/** A name beside `path`, so that the rename stays within one file system; short, so that it is never too long. */
function sibling(path: string): string {
  return join(dirname(resolve(path)), `.kpop-${randomBytes(8).toString("hex")}.tmp`);
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

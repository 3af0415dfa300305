import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { KpopError, throwIfAborted } from "../errors";
import { onDisk } from "./system-error";

/** Most bytes asked of the system at once: reads of 2 GiB and more fail on Linux. */
const MAX_READ = 2 ** 30;

/** What tells a file from a later one of the same name. */
export interface FileStamp {
  readonly size: number;
  readonly modified: bigint;
  readonly inode: bigint;
}

/** Opens a regular file for reading. @throws NOT_FOUND, IO_ERROR */
export async function openRegular(path: string): Promise<{ file: FileHandle; stamp: FileStamp }> {
  return await onDisk("read", path, async () => {
    // Before open: opening a pipe would wait for a writer.
    if (!(await stat(path)).isFile())
      throw new KpopError("IO_ERROR", `Cannot read ${path}: it is not a file`);
    const file = await open(path, "r");
    try {
      return { file, stamp: await stampOf(file) };
    } catch (error) {
      await file.close();
      throw error;
    }
  });
}

/** Fills `target` with the file's bytes from `position` on, straight into its memory.
 *  @throws IO_ERROR when the file ends first; ABORTED between reads of 1 GiB */
export async function readRange(
  file: FileHandle,
  path: string,
  position: number,
  target: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    throwIfAborted(signal);
    const length = Math.min(target.length - done, MAX_READ);
    const { bytesRead } = await onDisk("read", path, () => file.read(target, done, length, position + done));
    if (bytesRead === 0) {
      throw new KpopError(
        "IO_ERROR",
        `Cannot read ${path}: it ended at byte ${position + done}, ${target.length - done} bytes early`,
      );
    }
    done += bytesRead;
  }
}

/** @throws IO_ERROR when the open file is not (or no longer) the one that was stamped */
export async function checkUnchanged(file: FileHandle, path: string, stamp: FileStamp): Promise<void> {
  if (sameStamp(await onDisk("read", path, () => stampOf(file)), stamp)) return;
  throw new KpopError("IO_ERROR", `${path} has changed since it was opened; open the checkpoint again`);
}

/** Whether the file that was stamped is still at the path. */
export async function isUnchanged(path: string, stamp: FileStamp): Promise<boolean> {
  const found = await stat(path, { bigint: true }).catch(() => null);
  return found !== null && sameStamp(toStamp(found), stamp);
}

async function stampOf(file: FileHandle): Promise<FileStamp> {
  return toStamp(await file.stat({ bigint: true }));
}

function toStamp({ size, mtimeNs, ino }: BigIntStats): FileStamp {
  return { size: Number(size), modified: mtimeNs, inode: ino };
}

function sameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.size === b.size && a.modified === b.modified && a.inode === b.inode;
}

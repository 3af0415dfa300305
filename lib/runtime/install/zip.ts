import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32 } from "node:zlib";
import { getFileNameLowLevel, openPromise } from "yauzl";
import type { Entry, ZipFile } from "yauzl";
import { KpopError, throwIfAborted } from "../../errors";

/** One file of a zip archive (a wheel is one). */
export interface ZipEntry {
  name: string;
  bytes: number;
  isSymlink: boolean;
  /** Writes the file to `target`, its length and CRC-32 checked. @throws IO_ERROR, ABORTED */
  extract(target: string, signal?: AbortSignal): Promise<void>;
}

/** Gives the files of an archive, folders left out, to `use`; the archive is open for as long. @throws IO_ERROR */
export async function withZip<T>(path: string, use: (entries: ZipEntry[]) => Promise<T>): Promise<T> {
  // Names are decoded and judged here, so that those that lead out of a folder get the sentence of every archive.
  const file = await orDamaged(path, openPromise(path, { autoClose: false, decodeStrings: false }));
  try {
    return await use(await orDamaged(path, entriesOf(file, path)));
  } finally {
    file.close();
  }
}

async function entriesOf(file: ZipFile, path: string): Promise<ZipEntry[]> {
  const entries: ZipEntry[] = [];
  for await (const entry of file.eachEntry()) {
    const { generalPurposeBitFlag, fileNameRaw, extraFields, uncompressedSize, externalFileAttributes } =
      entry;
    const name = getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, true);
    if (name.endsWith("/")) continue;
    entries.push({
      name,
      bytes: uncompressedSize,
      isSymlink: ((externalFileAttributes >>> 16) & 0o170000) === 0o120000,
      extract: async (target, signal) => await extract({ file, path, entry, name }, target, signal),
    });
  }
  return entries;
}

interface Place {
  file: ZipFile;
  path: string;
  entry: Entry;
  name: string;
}

async function extract(
  { file, path, entry, name }: Place,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const source = await orDamaged(path, file.openReadStreamPromise(entry));
  let crc = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      crc = crc32(chunk, crc);
      done(null, chunk);
    },
    flush(done) {
      done(crc === entry.crc32 ? null : damaged(path, `the checksum of ${name} does not fit`));
    },
  });
  const steps = [source, check, createWriteStream(target)] as const;
  await orDamaged(path, pipeline(steps, signal ? { signal } : {}), name).catch((error: unknown) => {
    throwIfAborted(signal);
    throw error;
  });
}

/** The reader's complaints as ours; those of the file system are left as they are. */
async function orDamaged<T>(path: string, work: Promise<T>, name?: string): Promise<T> {
  return await work.catch((error: NodeJS.ErrnoException) => {
    if (error instanceof KpopError || error.syscall !== undefined) throw error;
    throw damaged(
      path,
      name === undefined ? error.message : `${name} cannot be unpacked (${error.message})`,
      error,
    );
  });
}

function damaged(path: string, reason: string, cause?: Error): KpopError {
  return new KpopError("IO_ERROR", `${path} is not a usable zip archive: ${reason}`, { cause });
}

import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32, createInflateRaw, inflateRawSync } from "node:zlib";
import { KpopError } from "../../errors";

/** One file of a zip archive (a wheel is one). */
export interface ZipEntry {
  name: string;
  bytes: number;
  compressedBytes: number;
  method: number;
  crc: number;
  offset: number;
  isSymlink: boolean;
}

const END_BYTES = 22;
const MAX_COMMENT = 0xffff;
const STORED = 0;
const DEFLATED = 8;
const UNKNOWN_32 = 0xffffffff;
const SMALL = 2 ** 20;
const CHUNK = 2 ** 18;

/** The files of an archive, folders left out, from its central directory (APPNOTE.TXT 4.3). @throws IO_ERROR */
export async function zipEntries(archive: FileHandle, path: string): Promise<ZipEntry[]> {
  const { size } = await archive.stat();
  const tailStart = Math.max(0, size - END_BYTES - MAX_COMMENT);
  const tail = await readAt(archive, tailStart, size - tailStart, path);
  const end = tail.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0 || end + END_BYTES > tail.length) throw damaged(path, "it has no central directory");
  let count = tail.readUInt16LE(end + 10);
  let directoryBytes = tail.readUInt32LE(end + 12);
  let directoryStart = tail.readUInt32LE(end + 16);
  const wideEnd = tail.lastIndexOf(Buffer.from("PK\x06\x06", "latin1"), end);
  if ((count === 0xffff || directoryStart === UNKNOWN_32) && wideEnd >= 0) {
    count = Number(tail.readBigUInt64LE(wideEnd + 32));
    directoryBytes = Number(tail.readBigUInt64LE(wideEnd + 40));
    directoryStart = Number(tail.readBigUInt64LE(wideEnd + 48));
  }
  const directory = await readAt(archive, directoryStart, directoryBytes, path);
  const entries: ZipEntry[] = [];
  for (let at = 0, i = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32BE(at) !== 0x504b0102) {
      throw damaged(path, "its central directory is cut off");
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    const extraBytes = directory.readUInt16LE(at + 30);
    const name = directory.toString("utf8", at + 46, at + 46 + nameBytes);
    const [bytes, compressedBytes, offset] = sizes(directory, at, nameBytes, extraBytes);
    if (!name.endsWith("/")) {
      entries.push({
        name,
        bytes,
        compressedBytes,
        offset,
        method: directory.readUInt16LE(at + 10),
        crc: directory.readUInt32LE(at + 16),
        isSymlink: ((directory.readUInt32LE(at + 38) >>> 16) & 0o170000) === 0o120000,
      });
    }
    at += 46 + nameBytes + extraBytes + directory.readUInt16LE(at + 32);
  }
  return entries;
}

/** Writes one file of the archive to `target`, its length and CRC-32 checked. @throws IO_ERROR */
export async function extractZipEntry(
  archive: FileHandle,
  path: string,
  entry: ZipEntry,
  target: string,
): Promise<void> {
  if (entry.method !== DEFLATED && entry.method !== STORED) {
    throw damaged(path, `${entry.name} is compressed with the unknown method ${entry.method}`);
  }
  const header = await readAt(archive, entry.offset, 30, path);
  const start = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  await mkdir(dirname(target), { recursive: true });
  const seen = { bytes: 0, crc: 0 };
  // A wheel has ten thousand headers, for which a pipeline costs more than the bytes.
  if (entry.bytes <= SMALL && entry.compressedBytes <= SMALL) {
    const stored = await readAt(archive, start, entry.compressedBytes, path);
    const content = entry.method === STORED ? stored : inflate(stored, entry, path);
    tally(seen, content);
    await writeFile(target, content);
  } else {
    const source = createReadStream(path, {
      start,
      end: start + entry.compressedBytes - 1,
      highWaterMark: CHUNK,
    });
    const check = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        tally(seen, chunk);
        done(seen.bytes > entry.bytes ? damaged(path, `${entry.name} is longer than it says`) : null, chunk);
      },
    });
    const inflater = entry.method === STORED ? [] : [createInflateRaw({ chunkSize: CHUNK })];
    await pipeline([source, ...inflater, check, createWriteStream(target)]).catch(
      (error: NodeJS.ErrnoException) => {
        throw error.code?.startsWith("Z_") ? damaged(path, `${entry.name} cannot be decompressed`) : error;
      },
    );
  }
  if (seen.bytes !== entry.bytes || seen.crc !== entry.crc) {
    throw damaged(path, `the checksum of ${entry.name} does not fit`);
  }
}

function tally(seen: { bytes: number; crc: number }, chunk: Buffer): void {
  seen.bytes += chunk.length;
  seen.crc = crc32(chunk, seen.crc);
}

function inflate(stored: Buffer, entry: ZipEntry, path: string): Buffer {
  try {
    return inflateRawSync(stored, { maxOutputLength: Math.max(1, entry.bytes) });
  } catch (error) {
    throw damaged(path, `${entry.name} cannot be decompressed (${(error as Error).message})`);
  }
}

/** Length, compressed length and offset of one directory record, from its 64-bit extra field where that is needed. */
function sizes(
  directory: Buffer,
  at: number,
  nameBytes: number,
  extraBytes: number,
): [bytes: number, compressedBytes: number, offset: number] {
  const values: [number, number, number] = [
    directory.readUInt32LE(at + 24),
    directory.readUInt32LE(at + 20),
    directory.readUInt32LE(at + 42),
  ];
  const start = at + 46 + nameBytes;
  for (let field = start; field + 4 <= start + extraBytes;) {
    const fieldBytes = directory.readUInt16LE(field + 2);
    if (directory.readUInt16LE(field) === 1) {
      let wide = field + 4;
      values.forEach((value, i) => {
        if (value !== UNKNOWN_32) return;
        values[i] = Number(directory.readBigUInt64LE(wide));
        wide += 8;
      });
    }
    field += 4 + fieldBytes;
  }
  return values;
}

async function readAt(archive: FileHandle, position: number, length: number, path: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await archive.read(buffer, 0, length, position);
  if (bytesRead !== length) throw damaged(path, "it is cut off");
  return buffer;
}

function damaged(path: string, reason: string): KpopError {
  return new KpopError("IO_ERROR", `${path} is not a usable zip archive: ${reason}`);
}

import { closeSync, openSync, readSync, fstatSync } from "node:fs";

const HEADER_BYTES = 64;

/**
 * Why a file cannot be a whole shared library for this machine, or null. Mapping a truncated library ends the process
 * with SIGBUS instead of an error, so what is opened is looked at first: the ELF header, and that every segment and
 * the section table (the last thing in the file) lie inside it.
 */
export function elfFault(path: string): string | null {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "it does not exist";
    return isDenied(error) ? "permission denied" : `it cannot be read (${(error as Error).message})`;
  }
  try {
    const size = fstatSync(file).size;
    const header = read(file, 0, HEADER_BYTES);
    if (header === null || header.readUInt32BE(0) !== 0x7f454c46) return "it is not a shared library";
    if (header[4] !== 2 || header[5] !== 1 || header.readUInt16LE(18) !== 62) return "it is not for x86-64";
    return Math.max(sectionsEnd(header), segmentsEnd(file, header)) > size ? "it is truncated" : null;
  } finally {
    closeSync(file);
  }
}

function sectionsEnd(header: Buffer): number {
  return Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
}

function segmentsEnd(file: number, header: Buffer): number {
  const start = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const count = header.readUInt16LE(56);
  const table = read(file, start, entryBytes * count);
  if (table === null) return Infinity;
  let end = 0;
  for (let at = 0; at + 40 <= table.length; at += entryBytes) {
    end = Math.max(end, Number(table.readBigUInt64LE(at + 8) + table.readBigUInt64LE(at + 32)));
  }
  return end;
}

function read(file: number, position: number, length: number): Buffer | null {
  const bytes = Buffer.alloc(length);
  return readSync(file, bytes, 0, length, position) === length ? bytes : null;
}

/** Whether the file system refused for want of permission. */
export function isDenied(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EACCES" || code === "EPERM";
}

import type { FileHandle } from "node:fs/promises";
import type { TensorLocation } from "./checkpoint-types";
import { transposed } from "./transpose";
import { checkUnchanged, openRegular, readRange } from "../files/read-range";

const CHUNK = 4 * 2 ** 20;

/** Reads the stored bytes of one tensor after another, each file opened once. Close it.
 *  Its methods throw NOT_FOUND, IO_ERROR (also when a file has changed since its header was read) and ABORTED. */
export class LocationReader implements AsyncDisposable {
  private readonly files = new Map<string, FileHandle>();

  constructor(private readonly signal?: AbortSignal) {}

  /** A tensor's bytes, as the network takes it, in chunks of 4 MiB; a chunk is good until the next is asked for. */
  async *chunks(location: TensorLocation): AsyncGenerator<Uint8Array, void> {
    if (location.transposed === true) {
      yield await this.bytes(location);
      return;
    }
    const file = await this.open(location);
    const buffer = new Uint8Array(Math.min(CHUNK, location.bytes));
    for (let at = 0; at < location.bytes; at += CHUNK) {
      const chunk = buffer.subarray(0, Math.min(CHUNK, location.bytes - at));
      await readRange(file, location.file, location.offset + at, chunk, this.signal);
      yield chunk;
    }
    await checkUnchanged(file, location.file, location.stamp);
  }

  /** All of a tensor's bytes, as the network takes it. */
  async bytes(location: TensorLocation): Promise<Uint8Array> {
    const file = await this.open(location);
    const bytes = new Uint8Array(location.bytes);
    await readRange(file, location.file, location.offset, bytes, this.signal);
    await checkUnchanged(file, location.file, location.stamp);
    return location.transposed === true ? transposed(bytes, location.storedShape, location.dtype) : bytes;
  }

  async close(): Promise<void> {
    const open = [...this.files.values()];
    this.files.clear();
    await Promise.all(open.map((file) => file.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async open({ file: path, stamp }: TensorLocation): Promise<FileHandle> {
    const known = this.files.get(path);
    if (known !== undefined) return known;
    const { file } = await openRegular(path);
    this.files.set(path, file);
    await checkUnchanged(file, path, stamp);
    return file;
  }
}

/** Runs `work` with a reader that is closed afterwards. */
export async function withReader<T>(
  signal: AbortSignal | undefined,
  work: (reader: LocationReader) => Promise<T>,
): Promise<T> {
  const reader = new LocationReader(signal);
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}

import type { FileHandle } from "node:fs/promises";
import { KpopError } from "../errors";
import { checkUnchanged, openRegular, readRange } from "../files/read-range";
import type { FileStamp } from "../files/read-range";
import type { Tensor } from "../runtime/tensor";
import { mapPages } from "./map-pages";
import { headerLength, parseHeader } from "./safetensors-header";
import type { SafetensorsHeader, TensorEntry } from "./safetensors-header";

/** Bytes of a file that are read at once, in the hope that they hold the whole header. */
const FIRST_READ = 2 ** 18;

/** An open safetensors file: its checked header, and the bytes of single tensors on demand. */
export class SafetensorsReader implements AsyncDisposable {
  private constructor(
    readonly path: string,
    readonly header: SafetensorsHeader,
    readonly stamp: FileStamp,
    private file: FileHandle | null,
  ) {}

  /** Reads and checks the header, no tensor data. @throws NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR */
  static async open(path: string): Promise<SafetensorsReader> {
    const { file, stamp } = await openRegular(path);
    try {
      const start = new Uint8Array(Math.min(FIRST_READ, stamp.size));
      await readRange(file, path, 0, start);
      const length = headerLength(start, stamp.size, path);
      let json = start.subarray(8, 8 + length);
      if (json.length < length) {
        json = new Uint8Array(length);
        await readRange(file, path, 8, json);
      }
      return new SafetensorsReader(path, parseHeader(json, stamp.size, path), stamp, file);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** @throws INVALID_ARGUMENT when the file has no such tensor */
  entry(name: string): TensorEntry {
    const entry = this.header.tensors.get(name);
    if (entry !== undefined) return entry;
    throw new KpopError("INVALID_ARGUMENT", `${this.path} has no tensor ${JSON.stringify(name)}`);
  }

  /** Reads one tensor's bytes into `target`, which has exactly that many. @throws IO_ERROR, DISPOSED, ABORTED */
  async readInto(name: string, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { offset, bytes } = this.entry(name);
    if (this.file === null) throw new KpopError("DISPOSED", `The file ${this.path} has been closed`);
    if (target.length !== bytes) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${bytes} bytes of room for tensor ${JSON.stringify(name)} but received ${target.length}`,
      );
    }
    await readRange(this.file, this.path, offset, target, signal);
    await checkUnchanged(this.file, this.path, this.stamp);
  }

  /** Tensors that are pages of the file, by their entries; what cannot be mapped is left out. @throws IO_ERROR, DISPOSED */
  async map(): Promise<Map<TensorEntry, Tensor>> {
    if (this.file === null) throw new KpopError("DISPOSED", `The file ${this.path} has been closed`);
    const pages = mapPages(this.file, this.stamp.size, [...this.header.tensors.values()]);
    try {
      await checkUnchanged(this.file, this.path, this.stamp);
    } catch (error) {
      for (const tensor of pages.values()) tensor.dispose();
      throw error;
    }
    return pages;
  }

  async close(): Promise<void> {
    const file = this.file;
    this.file = null;
    await file?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The header of a file that is not kept open. @throws NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR */
export async function readHeader(path: string): Promise<SafetensorsHeader & { stamp: FileStamp }> {
  const reader = await SafetensorsReader.open(path);
  await reader.close();
  return { ...reader.header, stamp: reader.stamp };
}

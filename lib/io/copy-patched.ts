import type { FileHandle } from "node:fs/promises";
import { writeFileAtomically } from "../files/atomic";
import type { WeightFile } from "./checkpoint-types";
import { checkUnchanged, openRegular, readRange } from "../files/read-range";
import { encodeHeader } from "./safetensors-header";
import { writeAll } from "./safetensors-writer";

const CHUNK = 8 * 2 ** 20;

/** New bytes for one tensor of a file. */
export interface Patch {
  /** The tensor's first byte in the source file. */
  readonly offset: number;
  readonly length: number;
  /** Called once, when its turn comes; gives exactly `length` bytes. */
  bytes(): Promise<Uint8Array>;
}

export interface CopyOptions {
  /** Takes the place of the file's metadata; default: the header is copied as it is. */
  metadata?: ReadonlyMap<string, string>;
  signal?: AbortSignal;
}

/** Copies a safetensors file with some tensors replaced by others of the same size; every other byte of the data is
 *  the source's, in the source's order. Streams in chunks of 8 MiB.
 *  @throws IO_ERROR when the source has changed since its header was read; NO_SPACE, NOT_FOUND, ABORTED */
export async function copyPatched(
  source: WeightFile,
  target: string,
  patches: readonly Patch[],
  options: CopyOptions = {},
): Promise<void> {
  const { file, stamp } = await openRegular(source.path);
  try {
    await checkUnchanged(file, source.path, source.stamp);
    await writeFileAtomically(target, async (output) => {
      let at = 0;
      if (options.metadata !== undefined) {
        const entries = [...source.header.tensors].map(([name, { dtype, shape, bytes }]) => ({
          name,
          dtype,
          shape,
          byteLength: bytes,
        }));
        await writeAll(output, encodeHeader(entries, options.metadata));
        at = dataStart(source);
      }
      for (const patch of [...patches].sort((a, b) => a.offset - b.offset)) {
        await copyRange(file, source.path, at, patch.offset, output, options.signal);
        await writeAll(output, await patch.bytes());
        at = patch.offset + patch.length;
      }
      await copyRange(file, source.path, at, stamp.size, output, options.signal);
      await checkUnchanged(file, source.path, source.stamp);
    });
  } finally {
    await file.close();
  }
}

async function copyRange(
  from: FileHandle,
  path: string,
  start: number,
  end: number,
  to: FileHandle,
  signal: AbortSignal | undefined,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(CHUNK, Math.max(end - start, 0)));
  for (let at = start; at < end; at += CHUNK) {
    const chunk = buffer.subarray(0, Math.min(CHUNK, end - at));
    await readRange(from, path, at, chunk, signal);
    await writeAll(to, chunk);
  }
}

function dataStart({ stamp, header }: WeightFile): number {
  return Math.min(stamp.size, ...[...header.tensors.values()].map(({ offset }) => offset));
}

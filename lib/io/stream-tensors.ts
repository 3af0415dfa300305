import type { FileHandle } from "node:fs/promises";
import { tell } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import type { TensorLocation } from "./checkpoint-types";
import { transposed } from "./transpose";
import { forEachLimited } from "../files/for-each-limited";
import { checkUnchanged, openRegular, readRange } from "../files/read-range";

/** Tensors read at the same time. */
const IN_FLIGHT = 4;

export interface StreamOptions {
  signal?: AbortSignal;
  /** Called after each tensor; `bytes` of `totalBytes` have been read. */
  onProgress?(progress: { bytes: number; totalBytes: number; tensors: number; totalTensors: number }): void;
}

/** Reads the bytes of many tensors, several at a time, each file opened once, straight into the memory given.
 *  @param allocate the memory for one tensor, of exactly its length; called when its turn comes
 *  @param take given all that is wanted of an open file, takes what it needs no bytes of and gives back the rest
 *  @throws NOT_FOUND, IO_ERROR (also when a file has changed since its header was read), ABORTED */
export async function streamTensors<T extends TensorLocation>(
  locations: Iterable<T>,
  allocate: (location: T) => Uint8Array,
  options: StreamOptions = {},
  take: (file: FileHandle, wanted: readonly T[]) => readonly T[] = (_, wanted) => wanted,
): Promise<void> {
  const byFile = new Map<string, T[]>();
  for (const location of locations) {
    const wanted = byFile.get(location.file);
    if (wanted === undefined) byFile.set(location.file, [location]);
    else wanted.push(location);
  }
  const all = [...byFile.values()].flat();
  const totalBytes = all.reduce((sum, { bytes }) => sum + bytes, 0);
  let bytes = 0;
  let tensors = 0;
  const report = (location: T): Promise<void> => {
    bytes += location.bytes;
    return tell(options.onProgress, { bytes, totalBytes, tensors: ++tensors, totalTensors: all.length });
  };
  for (const [path, wanted] of byFile) {
    throwIfAborted(options.signal);
    const { file } = await openRegular(path);
    try {
      for (const stamp of new Set(wanted.map((location) => location.stamp)))
        await checkUnchanged(file, path, stamp);
      const left = new Set(take(file, wanted));
      for (const location of wanted) if (!left.has(location)) await report(location);
      // In the order of the file, so that the disk reads ahead.
      await forEachLimited(
        [...left].sort((a, b) => a.offset - b.offset),
        IN_FLIGHT,
        async (location) => {
          const target = allocate(location);
          if (target.length !== location.bytes) {
            throw new KpopError(
              "INVALID_ARGUMENT",
              `Expected ${location.bytes} bytes of room for ${location.key} but received ${target.length}`,
            );
          }
          await readRange(file, path, location.offset, target, options.signal);
          if (location.transposed === true)
            target.set(transposed(target, location.storedShape, location.dtype));
          await report(location);
        },
      );
      await checkUnchanged(file, path, wanted[0]!.stamp);
    } finally {
      await file.close();
    }
  }
}

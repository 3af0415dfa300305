import type { FileHandle } from "node:fs/promises";
import { KpopError, throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import type { FileDtype } from "./safetensors-dtypes";
import { compareEntries, encodeHeader, tensorBytes } from "./safetensors-header";

/** One tensor to be written. */
export interface WriteEntry {
  readonly name: string;
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  /** Called once, when its turn comes: all bytes (little-endian), or a stream of them. */
  bytes(): Promise<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Writes a safetensors file tensor by tensor, in the layout of the format's own writer, under a temporary name
 *  until it is complete. Holds one entry's bytes at a time.
 *  @throws INVALID_ARGUMENT when a name is given twice or an entry yields another number of bytes than its shape says;
 *  NO_SPACE, IO_ERROR, ABORTED */
export async function writeSafetensors(
  path: string,
  entries: readonly WriteEntry[],
  metadata: ReadonlyMap<string, string> = new Map(),
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  const ordered = [...entries].sort(compareEntries);
  const names = new Set<string>();
  const laid = ordered.map(({ name, dtype, shape }) => {
    if (name === "__metadata__" || names.has(name)) {
      throw new KpopError("INVALID_ARGUMENT", `The tensor name ${JSON.stringify(name)} is taken`);
    }
    names.add(name);
    const byteLength = tensorBytes(dtype, shape);
    if (byteLength === null) {
      throw new KpopError("INVALID_ARGUMENT", `Tensor ${JSON.stringify(name)} is too large to be written`);
    }
    return { name, dtype, shape, byteLength };
  });
  const header = encodeHeader(laid, metadata);
  await writeFileAtomically(path, async (file) => {
    await writeAll(file, header);
    for (const [index, entry] of ordered.entries()) {
      await writeEntry(file, entry, laid[index]!.byteLength, options.signal);
    }
  });
}

/** Writes the whole of `bytes`, at `position` or where the last write ended. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const at = position === undefined ? null : position + done;
    done += (await file.write(bytes, done, Math.min(bytes.length - done, 2 ** 30), at)).bytesWritten;
  }
}

async function writeEntry(
  file: FileHandle,
  entry: WriteEntry,
  expected: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  let written = 0;
  for await (const chunk of chunks(entry.bytes())) {
    throwIfAborted(signal);
    written += chunk.length;
    if (written <= expected) await writeAll(file, chunk);
  }
  throwIfAborted(signal);
  if (written === expected) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${expected} bytes for tensor ${JSON.stringify(entry.name)} but received ${written}`,
  );
}

async function* chunks(
  source: Promise<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  if (Symbol.asyncIterator in source) yield* source;
  else yield await source;
}

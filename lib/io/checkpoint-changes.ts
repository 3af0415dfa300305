import { KpopError } from "../errors";
import { COMPONENTS } from "./checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  TensorData,
  TensorLocation,
  WeightFile,
} from "./checkpoint-types";
import type { Patch } from "./copy-patched";
import { openRegular, checkUnchanged, readRange } from "./read-range";
import { runtimeDtype } from "./safetensors-dtypes";
import type { WriteEntry } from "./safetensors-writer";

const CHUNK = 8 * 2 ** 20;

/** @throws INVALID_ARGUMENT when a changed tensor is not one of the source's, or has another shape */
export function checkChanged(source: CheckpointSource, changed: ChangedTensors): void {
  for (const component of COMPONENTS) {
    for (const [key, { shape }] of changed[component] ?? []) {
      const place = source[component].tensors.get(key);
      if (place === undefined) {
        throw new KpopError(
          "INVALID_ARGUMENT",
          `The ${component} of ${source.path} has no tensor ${key} to change`,
        );
      }
      if (place.shape.join() === shape.join()) continue;
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${component} tensor ${key} to have shape [${place.shape.join(", ")}] but received [${shape.join(", ")}]`,
      );
    }
  }
}

/** What to write over one file of the source: the changed tensors, and those that a delta has put there. */
export function patchesOf(
  source: CheckpointSource,
  changed: ChangedTensors,
  file: WeightFile,
  signal?: AbortSignal,
): Patch[] {
  return COMPONENTS.flatMap((component) =>
    [...source[component].tensors].flatMap(([key, location]) => {
      const home = location.home ?? location;
      const tensor = changed[component]?.get(key);
      if (home.file !== file.path || (tensor === undefined && location.home === undefined)) return [];
      const bytes = () =>
        tensor === undefined ? readBytes(location, signal) : storedBytes(key, tensor, home);
      return [{ offset: home.offset, length: home.bytes, bytes }];
    }),
  );
}

/** One tensor of the source, as changed, for a file of another layout.
 *  @param shape as that file stores it */
export function entryOf(
  source: CheckpointSource,
  changed: ChangedTensors,
  component: ComponentName,
  key: string,
  as: { name: string; shape: readonly number[] },
  signal?: AbortSignal,
): WriteEntry {
  const location = source[component].tensors.get(key) ?? source[component].extra.get(key)!;
  const tensor = changed[component]?.get(key);
  const bytes = () =>
    tensor === undefined ? readChunks(location, signal) : storedBytes(key, tensor, location);
  return { ...as, dtype: location.dtype, bytes };
}

/** The whole of one tensor's stored bytes. @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function readBytes(location: TensorLocation, signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = new Uint8Array(location.bytes);
  let at = 0;
  for await (const chunk of readChunks(location, signal)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** One tensor's stored bytes in chunks of 8 MiB; a chunk is good until the next is asked for.
 *  @throws NOT_FOUND, IO_ERROR (also when the file has changed since its header was read), ABORTED */
export async function* readChunks(
  location: TensorLocation,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const { file } = await openRegular(location.file);
  try {
    await checkUnchanged(file, location.file, location.stamp);
    const buffer = new Uint8Array(Math.min(CHUNK, location.bytes));
    for (let at = 0; at < location.bytes; at += CHUNK) {
      const chunk = buffer.subarray(0, Math.min(CHUNK, location.bytes - at));
      await readRange(file, location.file, location.offset + at, chunk, signal);
      yield chunk;
    }
    await checkUnchanged(file, location.file, location.stamp);
  } finally {
    await file.close();
  }
}

/** A changed tensor's bytes in the dtype that the source stores it in. */
async function storedBytes(key: string, tensor: TensorData, place: TensorLocation): Promise<Uint8Array> {
  const dtype = runtimeDtype(place.dtype);
  if (dtype === null)
    throw new KpopError("UNSUPPORTED_FORMAT", `${key} is stored as ${place.dtype}; it cannot be changed`);
  const converted = tensor.dtype === dtype ? tensor : tensor.to(dtype);
  try {
    const bytes = await converted.bytes();
    if (bytes.length === place.bytes) return bytes;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected ${place.bytes} bytes for ${key} but received ${bytes.length}`,
    );
  } finally {
    if (converted !== tensor) converted.dispose();
  }
}

import type { FileHandle } from "node:fs/promises";
import { Tensor } from "../runtime/tensor";
import type { TensorLocation } from "./checkpoint-types";
import { mapPages } from "./map-pages";
import { requireRuntimeDtype, runtimeDtype } from "./safetensors-dtypes";
import { streamTensors } from "./stream-tensors";
import type { StreamOptions } from "./stream-tensors";

/** How tensors are read. */
export interface ReadOptions extends StreamOptions {
  /** Which tensors may be private pages of their file in place of copies (see `LoadOptions.mapped`). Default: none. */
  mapped?(location: TensorLocation): boolean;
}

/** Reads many tensors into host memory, in their stored dtype and the network's shape; each file is opened once.
 *  @returns under the keys given, in their order
 *  @throws UNSUPPORTED_FORMAT for a dtype that tensors do not have; NOT_FOUND, IO_ERROR, ABORTED */
export async function readTensors<K>(
  locations: ReadonlyMap<K, TensorLocation>,
  { mapped, ...options }: ReadOptions = {},
): Promise<Map<K, Tensor>> {
  for (const { key, dtype, file } of locations.values()) requireRuntimeDtype(dtype, key, file);
  const read = new Map<K, Tensor>();
  const wanted = [...locations].map(([as, location]) => ({ ...location, as }));
  const allocate = ({ as, shape, dtype }: (typeof wanted)[number]) => {
    const tensor = Tensor.empty(shape, runtimeDtype(dtype)!);
    read.set(as, tensor);
    return tensor.hostBytes();
  };
  const map = (file: FileHandle, inFile: readonly (typeof wanted)[number][]) => {
    const asked = inFile.filter(
      (location) => location.transposed === undefined && mapped?.(location) === true,
    );
    const pages = mapPages(file, inFile[0]!.stamp.size, asked);
    for (const [{ as }, tensor] of pages) read.set(as, tensor);
    return inFile.filter((location) => !pages.has(location));
  };
  try {
    await streamTensors(wanted, allocate, options, map);
  } catch (error) {
    for (const tensor of read.values()) tensor.dispose();
    throw error;
  }
  return new Map([...locations.keys()].map((as) => [as, read.get(as)!]));
}

/** Reads one tensor. @throws as `readTensors` */
export async function readTensor(location: TensorLocation, options: ReadOptions = {}): Promise<Tensor> {
  return (await readTensors(new Map([[0, location]]), options)).get(0)!;
}

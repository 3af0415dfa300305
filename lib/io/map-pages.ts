import type { FileHandle } from "node:fs/promises";
import { mapTensors } from "../runtime/mapped";
import type { Tensor } from "../runtime/tensor";
import { elementBytes, runtimeDtype } from "./safetensors-dtypes";
import type { TensorEntry } from "./safetensors-header";

/** Tensors that are pages of an open file of `size` bytes; what cannot be mapped is left out. */
export function mapPages<T extends TensorEntry>(
  file: FileHandle,
  size: number,
  entries: readonly T[],
): Map<T, Tensor> {
  const starts = new Set<number>();
  const pages = entries.filter(({ offset, dtype }) => {
    // A header of odd length leaves elements where no tensor may have them; and no two tensors share their pages.
    if (offset % elementBytes(dtype) !== 0 || starts.has(offset)) return false;
    starts.add(offset);
    return true;
  });
  if (pages.length === 0) return new Map();
  const places = pages.map(({ offset, shape, dtype }) => ({ offset, shape, dtype: runtimeDtype(dtype)! }));
  const mapped = new Map<T, Tensor>();
  mapTensors(file.fd, size, places)?.forEach((tensor, index) => mapped.set(pages[index]!, tensor));
  return mapped;
}

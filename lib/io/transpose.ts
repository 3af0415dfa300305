import type { FileDtype } from "./safetensors-dtypes";
import { elementBytes } from "./safetensors-dtypes";

/** A matrix's bytes the other way round. @param shape as the bytes have it, rows by columns */
export function transposed(
  bytes: Uint8Array,
  [rows, columns]: readonly number[],
  dtype: FileDtype,
): Uint8Array {
  const size = elementBytes(dtype);
  // As whole elements where there are such arrays: a byte at a time would hold the event loop up.
  const Words = size === 4 ? Uint32Array : size === 2 ? Uint16Array : Uint8Array;
  const width = size / Words.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const from = new Words(aligned.buffer as ArrayBuffer, aligned.byteOffset, rows! * columns! * width);
  const to = new Words(from.length);
  let at = 0;
  for (let row = 0; row < rows!; row++)
    for (let column = 0; column < columns!; column++)
      for (let word = 0; word < width; word++) to[(column * rows! + row) * width + word] = from[at++]!;
  return new Uint8Array(to.buffer);
}

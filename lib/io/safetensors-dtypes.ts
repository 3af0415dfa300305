import { KpopError } from "../errors";
import type { Dtype } from "../runtime/tensor";

/** Element types of the format that this library knows, in the order the format's own writer gives them. */
const TABLE = {
  U64: { bytes: 8, runtime: null },
  I64: { bytes: 8, runtime: "int64" },
  F64: { bytes: 8, runtime: "float64" },
  F32: { bytes: 4, runtime: "float32" },
  U32: { bytes: 4, runtime: null },
  I32: { bytes: 4, runtime: "int32" },
  BF16: { bytes: 2, runtime: "bfloat16" },
  F16: { bytes: 2, runtime: "float16" },
  U16: { bytes: 2, runtime: null },
  I16: { bytes: 2, runtime: null },
  F8_E4M3: { bytes: 1, runtime: null },
  F8_E5M2: { bytes: 1, runtime: null },
  I8: { bytes: 1, runtime: null },
  U8: { bytes: 1, runtime: "uint8" },
  BOOL: { bytes: 1, runtime: "bool" },
} as const satisfies Record<string, { bytes: number; runtime: Dtype | null }>;

/** An element type as a safetensors header spells it. */
export type FileDtype = keyof typeof TABLE;

const ORDER = Object.keys(TABLE) as FileDtype[];

export function isFileDtype(name: string): name is FileDtype {
  return Object.hasOwn(TABLE, name);
}

/** Bytes of one element. */
export function elementBytes(dtype: FileDtype): number {
  return TABLE[dtype].bytes;
}

/** The tensor dtype that holds these elements; null where tensors have none (I8, I16, U16, U32, U64, F8_*). */
export function runtimeDtype(dtype: FileDtype): Dtype | null {
  return TABLE[dtype].runtime;
}

/** @throws UNSUPPORTED_FORMAT for a dtype that tensors do not have */
export function requireRuntimeDtype(dtype: FileDtype, key: string, file: string): void {
  if (runtimeDtype(dtype) !== null) return;
  throw new KpopError("UNSUPPORTED_FORMAT", `${key} in ${file} is ${dtype}, which tensors here cannot hold`);
}

/** The header's name for a tensor dtype. */
export function fileDtype(dtype: Dtype): FileDtype {
  return ORDER.find((name) => TABLE[name].runtime === dtype)!;
}

/** Place of a dtype in a written file: widest elements first, which keeps every tensor aligned. */
export function writeOrder(dtype: FileDtype): number {
  return ORDER.indexOf(dtype);
}

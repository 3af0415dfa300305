import { KpopError } from "../errors";
import { excerpt } from "../files/excerpt";
import { elementBytes, isFileDtype, writeOrder } from "./safetensors-dtypes";
import type { FileDtype } from "./safetensors-dtypes";
import { jsonFlaw } from "../files/strict-json";
import { plainHeader } from "./plain-header";
import type { RawHeader } from "./plain-header";

/** What a header may weigh at most, as in the format's own reader. */
export const MAX_HEADER_BYTES = 100_000_000;

/** One tensor of a file. */
export interface TensorEntry {
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Length of the JSON that follows the first 8 bytes.
 *  @param prefix the file's first bytes, 8 or more unless the file is shorter
 *  @throws INVALID_SAFETENSORS when the file cannot hold such a header */
export function headerLength(prefix: Uint8Array, fileSize: number, path: string): number {
  if (fileSize < 8 || prefix.length < 8) {
    throw flaw(path, `it has ${fileSize} bytes, and the header's length alone takes 8`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw flaw(path, `the header claims ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  }
  if (Number(length) > fileSize - 8) {
    throw flaw(path, `the header claims ${length} bytes, but the file ends after ${fileSize} (truncated?)`);
  }
  return Number(length);
}

/** Parses and checks a header: every tensor's dtype, shape and place, no gap and no overlap, the data ending with the file.
 *  @param json the bytes after the first 8
 *  @throws INVALID_SAFETENSORS, naming the file and the tensor */
export function parseHeader(json: Uint8Array, fileSize: number, path: string): SafetensorsHeader {
  const raw = parseJson(json, path);
  const metadata = raw.metadata === undefined ? new Map<string, string>() : readMetadata(raw.metadata, path);
  const dataStart = 8 + json.length;
  const tensors: [string, TensorEntry][] = [];
  raw.entries.forEach((entry, name) => tensors.push([name, readEntry(name, entry, dataStart, path)]));
  tensors.sort((a, b) => a[1].offset - b[1].offset || a[1].bytes - b[1].bytes);
  checkPlaces(tensors, dataStart, fileSize, path);
  return { tensors: new Map(tensors), metadata };
}

/** Length prefix, JSON and padding (spaces to a multiple of 8) of a file whose tensors follow in the order given.
 *  @throws INVALID_ARGUMENT when the header would pass the format's limit */
export function encodeHeader(
  tensors: readonly { name: string; dtype: FileDtype; shape: readonly number[]; byteLength: number }[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array {
  const parts: string[] = [];
  // Text by hand: an object would reorder names that look like integers and lose one called __proto__.
  if (metadata.size > 0) {
    const pairs = [...metadata].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    parts.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let start = 0;
  for (const { name, dtype, shape, byteLength } of tensors) {
    const end = start + byteLength;
    parts.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${start},${end}]}`,
    );
    start = end;
  }
  const json = Buffer.from(`{${parts.join(",")}}`, "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `The names and metadata make a header of ${padded} bytes; safetensors allows ${MAX_HEADER_BYTES}`,
    );
  }
  const header = Buffer.alloc(8 + padded, " ");
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

/** Order in which the format's own writer lays tensors out: wide elements first, then names by their UTF-8 bytes. */
export function compareEntries(
  a: { name: string; dtype: FileDtype },
  b: { name: string; dtype: FileDtype },
): number {
  return (
    writeOrder(a.dtype) - writeOrder(b.dtype) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
  );
}

/** Bytes of a tensor, or null when the count passes 2^53 - 1. */
export function tensorBytes(dtype: FileDtype, shape: readonly number[]): number | null {
  let bytes = elementBytes(dtype);
  for (const size of shape) {
    bytes *= Math.max(size, 1);
    if (bytes > Number.MAX_SAFE_INTEGER) return null;
  }
  return shape.includes(0) ? 0 : bytes;
}

function parseJson(json: Uint8Array, path: string): RawHeader {
  if (json[0] !== 0x7b)
    throw flaw(path, "the header is not a JSON object (is this a safetensors file at all?)");
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    const plain = plainHeader(text);
    if (plain !== null) return plain;
    value = JSON.parse(text);
  } catch (error) {
    throw flaw(path, `the header is not JSON: ${(error as Error).message}`, error);
  }
  const found = jsonFlaw(text);
  if (found !== null) throw flaw(path, `in the header, ${found}`);
  const { __metadata__: metadata, ...entries } = value as Record<string, unknown>;
  return { entries: new Map(Object.entries(entries)), metadata };
}

function readMetadata(value: unknown, path: string): ReadonlyMap<string, string> {
  if (!isObject(value)) throw flaw(path, "__metadata__ is not an object");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw flaw(path, `__metadata__ key ${quoted(key)} is not a string`);
  }
  return new Map(Object.entries(value as Record<string, string>));
}

function readEntry(name: string, value: unknown, dataStart: number, path: string): TensorEntry {
  if (!isObject(value)) throw entryFlaw(path, name, "its entry is not an object");
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !isFileDtype(dtype))
    throw entryFlaw(path, name, `unknown dtype ${quoted(dtype)}`);
  if (!isSizes(shape)) throw entryFlaw(path, name, "its shape is not a list of non-negative integers");
  if (!isSizes(offsets) || offsets.length !== 2)
    throw entryFlaw(path, name, "its data_offsets are not two non-negative integers");
  const [start, end] = offsets as [number, number];
  if (end < start) throw entryFlaw(path, name, `its data ends (${end}) before it starts (${start})`);
  const needed = tensorBytes(dtype, shape);
  if (needed === null) throw entryFlaw(path, name, `shape [${excerpt(shape.join(", "))}] overflows`);
  if (end - start !== needed) {
    throw entryFlaw(
      path,
      name,
      `${dtype} of shape [${excerpt(shape.join(", "))}] takes ${needed} bytes, but it has ${end - start}`,
    );
  }
  return { dtype, shape, offset: dataStart + start, bytes: needed };
}

function checkPlaces(
  tensors: readonly [string, TensorEntry][],
  dataStart: number,
  fileSize: number,
  path: string,
): void {
  let next = dataStart;
  for (const tensor of tensors) {
    const name = tensor[0];
    const { offset, bytes } = tensor[1];
    if (offset !== next) {
      const what = offset < next ? "overlaps the tensor before it" : `leaves a gap of ${offset - next} bytes`;
      throw flaw(path, `tensor ${quoted(name)} ${what}`);
    }
    next += bytes;
    if (next > fileSize) {
      throw flaw(
        path,
        `tensor ${quoted(name)} ends at byte ${next}, but the file ends at ${fileSize} (truncated?)`,
      );
    }
  }
  if (next !== fileSize) throw flaw(path, `${fileSize - next} bytes after the last tensor belong to none`);
}

function entryFlaw(path: string, name: string, what: string): KpopError {
  return flaw(path, `tensor ${quoted(name)}: ${what}`);
}

function quoted(value: unknown): string {
  return excerpt(String(JSON.stringify(value)));
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function flaw(path: string, what: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_SAFETENSORS", `Invalid safetensors file ${path}: ${what}`, { cause });
}

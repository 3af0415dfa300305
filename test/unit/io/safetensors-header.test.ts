import { KpopError } from "../../../lib/errors";
import {
  MAX_HEADER_BYTES,
  encodeHeader,
  headerLength,
  parseHeader,
} from "../../../lib/io/safetensors-header";
import type { SafetensorsHeader } from "../../../lib/io/safetensors-header";
import { safetensorsBytes } from "../../support/safetensors-bytes";

/** What the reader does with a whole file, without the disk. */
function parse(file: Buffer, size = file.length): SafetensorsHeader {
  const length = headerLength(file.subarray(0, 8), size, "x.safetensors");
  return parseHeader(file.subarray(8, 8 + length), size, "x.safetensors");
}

const f32 = (shape: unknown, start: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [start, end],
});

function failure(work: () => unknown): KpopError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(KpopError);
    return error as KpopError;
  }
  throw new Error("nothing was thrown");
}

describe("a safetensors header", () => {
  it("gives every tensor's dtype, shape and place, in the order of the data", () => {
    const header = { b: f32([2], 4, 12), a: { dtype: "BF16", shape: [2, 1], data_offsets: [0, 4] } };
    const file = safetensorsBytes({ __metadata__: { format: "pt" }, ...header }, 12);
    const start = file.length - 12;
    const { tensors, metadata } = parse(file);
    expect([...tensors]).toEqual([
      ["a", { dtype: "BF16", shape: [2, 1], offset: start, bytes: 4 }],
      ["b", { dtype: "F32", shape: [2], offset: start + 4, bytes: 8 }],
    ]);
    expect([...metadata]).toEqual([["format", "pt"]]);
  });

  it("takes scalars, empty tensors, padding and no tensor at all", () => {
    const header = `${JSON.stringify({ s: f32([], 0, 4), e: f32([0, 3], 4, 4) })}    `;
    expect([...parse(safetensorsBytes(header, 4)).tensors.keys()]).toEqual(["s", "e"]);
    expect(parse(safetensorsBytes({}, 0)).tensors.size).toBe(0);
  });

  it("takes names that mean something to objects", () => {
    const header =
      '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}';
    expect([...parse(safetensorsBytes(header, 2)).tensors.keys()]).toEqual(["__proto__", "constructor"]);
  });

  it.each<[string, Buffer, RegExp]>([
    ["an empty file", Buffer.alloc(0), /0 bytes/],
    ["a file cut inside the length", Buffer.from([1, 0, 0]), /3 bytes/],
    [
      "a file cut inside the header",
      safetensorsBytes({ a: f32([1], 0, 4) }, 0, 500),
      /claims 500 bytes, but the file ends/,
    ],
    ["a header above 100 MB", safetensorsBytes({}, 0, MAX_HEADER_BYTES + 1), /at most 100000000/],
    ["a length of 2^64 - 1", safetensorsBytes({}, 0, 2n ** 64n - 1n), /18446744073709551615/],
    [
      "a file cut inside the data",
      safetensorsBytes({ a: f32([4], 0, 16) }, 9),
      /"a" ends at byte \d+, but the file ends/,
    ],
    ["data that no tensor has", safetensorsBytes({ a: f32([1], 0, 4) }, 7), /3 bytes after the last tensor/],
    ["a header that is no JSON", safetensorsBytes('{"a":', 0), /not JSON/],
    ["a header that is no object", safetensorsBytes("[]", 0), /not a JSON object/],
    ["a header that starts with a space", safetensorsBytes(" {}", 0), /not a JSON object/],
    ["a header that is no UTF-8", safetensorsBytes("{}", 0, 2).fill(0xff, 9), /not JSON/],
    ["an entry that is no object", safetensorsBytes({ a: 3 }, 0), /"a": its entry is not an object/],
    [
      "an unknown dtype",
      safetensorsBytes({ a: { ...f32([1], 0, 4), dtype: "F31" } }, 4),
      /"a": unknown dtype "F31"/,
    ],
    [
      "a dtype from an object's prototype",
      safetensorsBytes({ a: { ...f32([1], 0, 4), dtype: "toString" } }, 4),
      /unknown dtype/,
    ],
    ["no shape", safetensorsBytes({ a: { dtype: "F32", data_offsets: [0, 4] } }, 4), /"a": its shape/],
    ["a negative size", safetensorsBytes({ a: f32([-1], 0, 4) }, 4), /-1 is not a non-negative integer/],
    ["a fractional size", safetensorsBytes({ a: f32([1.5], 0, 6) }, 6), /1\.5 is not a non-negative integer/],
    [
      "a size written with an exponent",
      safetensorsBytes('{"a":{"dtype":"U8","shape":[1e1],"data_offsets":[0,10]}}', 10),
      /1e1 is not/,
    ],
    ["a size above 2^53", safetensorsBytes({ a: f32([2 ** 60], 0, 4) }, 4), /"a": its shape/],
    [
      "sizes whose product overflows",
      safetensorsBytes({ a: f32([2 ** 30, 2 ** 30], 0, 4) }, 4),
      /"a": shape .* overflows/,
    ],
    [
      "an overflow hidden behind a zero",
      safetensorsBytes({ a: f32([0, 2 ** 30, 2 ** 30], 0, 0) }, 0),
      /"a": shape .* overflows/,
    ],
    ["a size that is text", safetensorsBytes({ a: f32(["1"], 0, 4) }, 4), /"a": its shape/],
    [
      "one offset",
      safetensorsBytes({ a: { ...f32([1], 0, 4), data_offsets: [4] } }, 4),
      /"a": its data_offsets/,
    ],
    [
      "an end before the start",
      safetensorsBytes({ a: f32([1], 4, 0) }, 4),
      /ends \(0\) before it starts \(4\)/,
    ],
    [
      "fewer bytes than the shape takes",
      safetensorsBytes({ a: f32([2], 0, 4) }, 4),
      /takes 8 bytes, but it has 4/,
    ],
    [
      "more bytes than the shape takes",
      safetensorsBytes({ a: f32([1], 0, 8) }, 8),
      /takes 4 bytes, but it has 8/,
    ],
    ["overlapping tensors", safetensorsBytes({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12), /"b" overlaps/],
    [
      "two tensors in one place",
      safetensorsBytes({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4),
      /"b" overlaps/,
    ],
    ["a gap", safetensorsBytes({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), /"b" leaves a gap of 4 bytes/],
    ["a gap at the start", safetensorsBytes({ a: f32([1], 4, 8) }, 8), /"a" leaves a gap of 4 bytes/],
    [
      "a name given twice",
      safetensorsBytes(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
      ),
      /"a" stands twice/,
    ],
    [
      "a field given twice",
      safetensorsBytes('{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,2]}}', 2),
      /"shape" stands twice/,
    ],
    [
      "a name with half a surrogate pair",
      safetensorsBytes('{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      /"\\ud800" has half a surrogate pair/,
    ],
    [
      "a dtype of lists deep enough to overflow the stack",
      safetensorsBytes(`{"a":{"dtype":${"[".repeat(50_000)}${"]".repeat(50_000)}}}`, 0),
      /stand more than 127 deep/,
    ],
    [
      "metadata that is not text",
      safetensorsBytes({ __metadata__: { a: 1 } }, 0),
      /__metadata__ key "a" is not a string/,
    ],
    [
      "metadata that is no object",
      safetensorsBytes({ __metadata__: "x" }, 0),
      /__metadata__ is not an object/,
    ],
  ])("refuses %s", (_, file, message) => {
    const error = failure(() => parse(file));
    expect(error.code).toBe("INVALID_SAFETENSORS");
    expect(error.message).toMatch(/^Invalid safetensors file x\.safetensors: /);
    expect(error.message).toMatch(message);
  });

  it("is refused in few words, however long the name and the shape are", () => {
    const header = { ["n".repeat(1e5)]: f32(Array(1e5).fill(1), 0, 8) };
    const { message } = failure(() => parse(safetensorsBytes(header, 8)));
    expect(message).toMatch(/tensor "n{99}… \(100002 characters\): F32 of shape \[1, 1, .*takes 4 bytes/);
    expect(message.length).toBeLessThan(500);
  });

  it("is written so that it is read back, whatever the names", () => {
    const entries = [
      { name: "10", dtype: "F32", shape: [2], byteLength: 8 },
      { name: "__proto__", dtype: "F16", shape: [1, 1], byteLength: 2 },
      { name: '"é\n', dtype: "U8", shape: [], byteLength: 1 },
    ] as const;
    const bytes = Buffer.from(encodeHeader(entries, new Map([["k", "v\u2028"]])));
    expect(bytes.length % 8).toBe(0);
    const { tensors, metadata } = parse(Buffer.concat([bytes, Buffer.alloc(11)]));
    expect([...tensors.keys()]).toEqual(entries.map(({ name }) => name));
    expect(tensors.get('"é\n')).toEqual({ dtype: "U8", shape: [], offset: bytes.length + 10, bytes: 1 });
    expect(metadata.get("k")).toBe("v\u2028");
  });
});

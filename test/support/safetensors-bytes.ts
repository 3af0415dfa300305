import { writeFileSync } from "node:fs";

/** The bytes of a safetensors file with this header, right or wrong, and this many bytes of data (0, 1, 2, …).
 *  @param header JSON text, or a value to be turned into it   @param claimed length written instead of the true one */
export function safetensorsBytes(header: unknown, dataBytes: number, claimed?: number | bigint): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed ?? json.length));
  const data = Buffer.alloc(
    dataBytes,
    Uint8Array.from({ length: 251 }, (_, i) => i),
  );
  return Buffer.concat([length, json, data]);
}

/** Writes a file of U8 tensors with these names and shapes. */
export function writeU8File(
  path: string,
  shapes: Readonly<Record<string, readonly number[]>>,
  metadata?: Readonly<Record<string, string>>,
): void {
  let end = 0;
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const start = end;
    end += shape.reduce((a, b) => a * b, 1);
    return [name, { dtype: "U8", shape, data_offsets: [start, end] }] as const;
  });
  const header = {
    ...(metadata === undefined ? {} : { __metadata__: metadata }),
    ...Object.fromEntries(entries),
  };
  writeFileSync(path, safetensorsBytes(header, end));
}

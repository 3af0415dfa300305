import { crc32 } from "node:zlib";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** Length, type and checksum of a chunk. */
const FRAME = 12;
const HEADER_BYTES = 13;

/**
 * The size of a PNG whose chunks are all there, with correct checksums (PNG specification, third edition, 5.3); null for
 * anything else. Much cheaper than decoding, and finds what a decoder may not.
 */
export function pngSize(bytes: Uint8Array): { width: number; height: number } | null {
  if (bytes.length < SIGNATURE.length || SIGNATURE.some((byte, i) => bytes[i] !== byte)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let size: { width: number; height: number } | null = null;
  let [at, data] = [SIGNATURE.length, 0];
  while (at + FRAME <= bytes.length) {
    const length = view.getUint32(at);
    const end = at + FRAME + length;
    if (end > bytes.length) return null;
    if (crc32(bytes.subarray(at + 4, end - 4)) !== view.getUint32(end - 4)) return null;
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    // The header comes first, once, and always with its 13 bytes.
    if ((type === "IHDR") !== (size === null) || (type === "IHDR" && length !== HEADER_BYTES)) return null;
    if (type === "IHDR") size = { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
    if (type === "IDAT") data += length;
    if (type === "IEND") return data > 0 && end === bytes.length ? size : null;
    at = end;
  }
  return null;
}

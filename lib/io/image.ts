import { readFile } from "node:fs/promises";
import { filePath, integer, invalid } from "../check";
import { KpopError } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { onDisk } from "../files/system-error";
import { decodeWithSharp, otherFormat } from "./jpeg-webp";
import { readPng, writePng } from "./png";
import type { Pixels } from "./png";
import { pngSize } from "./png-structure";

/** Names that say what a PNG file is not. */
const OTHER_FORMATS = /\.(?:jpe?g|webp|avif|gif|bmp|tiff?)$/i;

/** A picture: 8-bit RGB, row-major, three bytes a pixel. */
export class Image {
  readonly width: number;
  readonly height: number;
  /** height × width × 3 bytes. */
  readonly data: Uint8Array;

  /** @throws INVALID_ARGUMENT when `data` is not width × height × 3 bytes */
  constructor(width: number, height: number, data: Uint8Array) {
    integer("width", width, 1);
    integer("height", height, 1);
    if (!isBytes(data)) throw invalid("data", "a Uint8Array", data);
    if (data.length !== width * height * 3) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected data to be ${width} × ${height} × 3 bytes but received ${data.length}`,
      );
    }
    this.width = width;
    this.height = height;
    this.data = data;
  }

  /**
   * Reads a PNG file without transparency; where the package sharp is installed, JPEG and WebP files too.
   * @throws NOT_FOUND, IO_ERROR; UNSUPPORTED_FORMAT for what is no whole picture of these formats, or has transparent
   *   pixels, and for JPEG and WebP without sharp
   */
  static async load(path: string): Promise<Image> {
    filePath("path", path);
    const bytes = await onDisk("read", path, () => readFile(path));
    const { width, height, data } = await decode(path, bytes);
    return new Image(width, height, data);
  }

  /** The picture as a PNG file's bytes. Another thread compresses it. */
  async png(): Promise<Buffer> {
    return await writePng(this);
  }

  /**
   * Writes a PNG file; the old file, if any, stays until the new one is complete.
   * @throws INVALID_ARGUMENT for a name that says another format; NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string): Promise<void> {
    filePath("path", path);
    if (OTHER_FORMATS.test(path))
      throw invalid("path", "a name that ends in .png, the format that is written,", path);
    const bytes = await this.png();
    await writeFileAtomically(path, (file) => file.writeFile(bytes));
  }

  /**
   * Pictures of one size side by side, in rows.
   * @param gap white pixels between pictures
   */
  static grid(rows: readonly (readonly Image[])[], gap = 2): Image {
    integer("gap", gap, 0);
    const cell = rows[0]?.[0];
    if (cell === undefined)
      throw new KpopError("INVALID_ARGUMENT", "Expected rows to hold at least one picture");
    const columns = Math.max(...rows.map((row) => row.length));
    const width = columns * (cell.width + gap) - gap;
    const height = rows.length * (cell.height + gap) - gap;
    const data = new Uint8Array(width * height * 3).fill(255);
    rows.forEach((row, r) =>
      row.forEach((image, c) => {
        if (image.width !== cell.width || image.height !== cell.height) {
          throw new KpopError(
            "INVALID_ARGUMENT",
            `Expected pictures of ${cell.width} × ${cell.height} but received one of ${image.width} × ${image.height}`,
          );
        }
        for (let y = 0; y < image.height; y++) {
          const target = ((r * (cell.height + gap) + y) * width + c * (cell.width + gap)) * 3;
          data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), target);
        }
      }),
    );
    return new Image(width, height, data);
  }
}

/** Told by its tag, not by its class: arrays of another realm (a vm context) have another one. */
function isBytes(data: unknown): data is Uint8Array {
  return ["[object Uint8Array]", "[object Uint8ClampedArray]"].includes(Object.prototype.toString.call(data));
}

async function decode(path: string, bytes: Buffer): Promise<Pixels> {
  const format = otherFormat(bytes);
  if (format === null && pngSize(bytes) === null) {
    throw unreadable(path, "it is no PNG, JPEG or WebP, or a part of it is missing or damaged");
  }
  const pixels = format === null ? readPng(bytes) : decodeWithSharp(format, bytes);
  return await pixels.catch((cause: Error) => {
    throw unreadable(path, cause.message, cause);
  });
}

function unreadable(path: string, reason: string, cause?: unknown): KpopError {
  return new KpopError("UNSUPPORTED_FORMAT", `Cannot read the picture ${path}: ${reason}`, { cause });
}

import { readFile } from "node:fs/promises";
import { PNG } from "pngjs";
import { filePath, integer } from "../check";
import { KpopError } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { pngSize } from "./png-structure";
import { onDisk } from "../files/system-error";

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
   * Reads a PNG file without transparency.
   * @throws NOT_FOUND, IO_ERROR; UNSUPPORTED_FORMAT for what is no whole PNG, or has transparent pixels
   */
  static async load(path: string): Promise<Image> {
    filePath("path", path);
    const bytes = await onDisk("read", path, () => readFile(path));
    if (pngSize(bytes) === null)
      throw unreadable(path, "it is no PNG, or a part of it is missing or damaged");
    const { width, height, data } = await decode(path, bytes);
    const rgb = new Uint8Array(width * height * 3);
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
      if (data[from + 3] !== 255)
        throw unreadable(path, "it has transparent pixels; put it on a background first");
      rgb[to] = data[from]!;
      rgb[to + 1] = data[from + 1]!;
      rgb[to + 2] = data[from + 2]!;
    }
    return new Image(width, height, rgb);
  }

  /** The picture as a PNG file's bytes. */
  async png(): Promise<Buffer> {
    const png = new PNG({ width: this.width, height: this.height, colorType: 2, filterType: 4 });
    for (let from = 0, to = 0; from < this.data.length; from += 3, to += 4) {
      png.data[to] = this.data[from]!;
      png.data[to + 1] = this.data[from + 1]!;
      png.data[to + 2] = this.data[from + 2]!;
      png.data[to + 3] = 255;
    }
    const chunks: Buffer[] = [];
    return await new Promise((resolve, reject) => {
      png.on("data", (chunk: Buffer) => chunks.push(chunk));
      png.on("end", () => resolve(Buffer.concat(chunks)));
      png.on("error", reject);
      png.pack();
    });
  }

  /** Writes a PNG file; the old file, if any, stays until the new one is complete. @throws NO_SPACE, NOT_FOUND, IO_ERROR */
  async save(path: string): Promise<void> {
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

function decode(path: string, bytes: Buffer): Promise<PNG> {
  return new Promise((resolve, reject) => {
    const png = new PNG();
    png.on("parsed", () => resolve(png));
    // On, not once: pngjs may find several faults.
    png.on("error", (error) => reject(unreadable(path, error.message, error)));
    png.end(bytes);
  });
}

function unreadable(path: string, reason: string, cause?: unknown): KpopError {
  return new KpopError("UNSUPPORTED_FORMAT", `Cannot read the picture ${path}: ${reason}`, { cause });
}

import { readFile, realpath } from "node:fs/promises";
import { basename, join, sep } from "node:path";
import { throwIfAborted } from "../errors";
import { Image } from "../io/image";
import { pngSize } from "../io/png-structure";

/** Pixels of a side that a page needs; larger pictures become smaller. */
const LARGEST = 320;

/** Pictures as pages hold them, and what was missing. */
export class PictureReader {
  /** Pictures that a page has. */
  read = 0;
  /** Those that were there when they were measured. */
  missing = 0;
  private readonly known = new Map<string, Promise<string | null>>();

  constructor(private readonly signal: AbortSignal | undefined) {}

  /**
   * A picture's PNG, base64; null where it is gone, damaged, or a link that leads out of its folder.
   * @param path of which the last part counts
   * @throws ABORTED
   */
  async png(folder: string, path: string): Promise<string | null> {
    throwIfAborted(this.signal);
    const file = join(folder, basename(path));
    const found = this.known.get(file) ?? readPng(folder, file);
    if (!this.known.has(file)) {
      this.known.set(file, found);
      if ((await found) === null) this.missing += 1;
      else this.read += 1;
    }
    return await found;
  }
}

async function readPng(folder: string, file: string): Promise<string | null> {
  try {
    const place = await realpath(file);
    if (!place.startsWith((await realpath(folder)) + sep)) return null;
    const bytes = await readFile(place);
    const size = pngSize(bytes);
    if (size === null) return null;
    const factor = Math.ceil(Math.max(size.width, size.height) / LARGEST);
    const shown = factor === 1 ? bytes : await shrunk(await Image.load(place), factor).png();
    return shown.toString("base64");
  } catch {
    return null;
  }
}

/** A picture of which every pixel is the mean of `factor` × `factor`; what is left over at the edges is cut off. */
export function shrunk({ width, height, data }: Image, factor: number): Image {
  const [columns, rows] = [Math.floor(width / factor), Math.floor(height / factor)];
  const small = new Uint8Array(columns * rows * 3);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++)
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let dy = 0; dy < factor; dy++)
          for (let dx = 0; dx < factor; dx++)
            sum += data[((y * factor + dy) * width + x * factor + dx) * 3 + channel]!;
        small[(y * columns + x) * 3 + channel] = Math.round(sum / factor ** 2);
      }
  return new Image(columns, rows, small);
}

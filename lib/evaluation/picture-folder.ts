import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { onDisk } from "../files/system-error";

const PICTURE = /\.(?:png|jpe?g|webp)$/i;

/**
 * The picture files of a folder, by name; folders in it are not looked into.
 * @throws INVALID_ARGUMENT when there are none; NOT_FOUND, IO_ERROR
 */
export async function picturesIn(folder: string): Promise<string[]> {
  const entries = await onDisk("read", folder, () => readdir(folder, { withFileTypes: true }));
  const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  const pictures = files.filter((name) => PICTURE.test(name)).sort();
  if (pictures.length === 0)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected ${folder} to hold pictures (PNG, JPEG or WebP) but found none among its ${files.length} files`,
    );
  return pictures.map((name) => join(folder, name));
}

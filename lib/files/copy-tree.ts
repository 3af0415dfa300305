import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { hubPlace } from "./hub-place";

/** Copies the files of a folder, but hidden ones, files that are there already, and links that lead out of `root`:
 *  a folder from elsewhere could otherwise have any file of this machine copied into a model that is then published.
 *  @param wanted whether a file of this name is copied */
export async function copyTree(
  from: string,
  to: string,
  root: string,
  wanted: (name: string) => boolean,
): Promise<void> {
  if (!isInside(await realpath(from), root)) return;
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    const path = join(from, entry.name);
    if (entry.isDirectory()) await copyTree(path, join(to, entry.name), root, wanted);
    else if (wanted(entry.name)) await copyInside(path, join(to, entry.name), root);
  }
}

/** Copies one file unless it lies outside `root`, is no regular file, or `to` is there already. */
export async function copyInside(from: string, to: string, root: string): Promise<void> {
  const real = await realpath(from).catch(() => null);
  if (real === null || !isInside(real, root) || !(await stat(real)).isFile()) return;
  if ((await stat(to).catch(() => null)) === null) await copyContent(real, to);
}

/** Copies a file's content, not its mode: a read-only model gives a writable copy. */
export async function copyContent(from: string, to: string): Promise<void> {
  await pipeline(createReadStream(from), createWriteStream(to, { flags: "wx" }));
}

/** The folder within which a model's links may lead: its own, or the repository's in Hugging Face's cache, where
 *  snapshots/REVISION is all links into blobs/. */
export async function linkRoot(folder: string): Promise<string> {
  const real = await realpath(folder);
  return hubPlace(real)?.root ?? real;
}

function isInside(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

import { lstat, mkdir, readdir, realpath, rename } from "node:fs/promises";
import { basename, join, sep } from "node:path";
import { KpopError, throwIfAborted } from "../../errors";
import { forEachLimited } from "../../files/for-each-limited";
import { archiveKind } from "./archive";
import { runChild } from "./child";
import { withZip } from "./zip";

export interface UnpackOptions {
  signal?: AbortSignal | undefined;
  onProgress?: (done: number, total: number) => void;
}

/** A wheel has ten thousand headers, each of which waits for the disk. */
const PARALLEL_FILES = 4;

/** Serve Python, or tests of torch itself. */
const NOT_NEEDED =
  /^torch\/lib\/(?:libtorch_python|libshm|libaoti_custom_ops|libbackend_with_compiler|\w*_test)\b/;

/**
 * Unpacks the parts of a torch wheel, a CUDA library's wheel or a libtorch archive (.whl, .zip, .tar and its compressed
 * forms) that programs in C++ need: torch/lib, torch/include, the version, nvidia/ and the licences.
 * @throws IO_ERROR when the archive is damaged or holds a path that leaves `target`; UNSUPPORTED_FORMAT; ABORTED
 */
export async function unpackLibtorch(
  archive: string,
  target: string,
  options: UnpackOptions = {},
): Promise<void> {
  await mkdir(target, { recursive: true });
  if (archiveKind(archive) === "zip") await unpackZip(archive, target, options);
  else await unpackTar(archive, target, options);
}

async function unpackZip(archive: string, target: string, options: UnpackOptions): Promise<void> {
  const { signal, onProgress } = options;
  await withZip(archive, async (entries) => {
    const wanted = entries.flatMap((entry) => {
      const place = placeOf(entry.name, archive);
      if (place === null) return [];
      if (entry.isSymlink) throw unsafe(archive, entry.name);
      return [{ entry, path: join(target, place) }];
    });
    const total = wanted.reduce((sum, { entry }) => sum + entry.bytes, 0);
    let done = 0;
    await forEachLimited(wanted, PARALLEL_FILES, async ({ entry, path }) => {
      throwIfAborted(signal);
      await entry.extract(path, signal);
      done += entry.bytes;
      onProgress?.(done, total);
    });
  });
}

async function unpackTar(archive: string, target: string, options: UnpackOptions): Promise<void> {
  const run = async (...args: string[]) =>
    await runChild("tar", args, { signal: options.signal }).catch((cause: unknown) => {
      if (!(cause instanceof KpopError) || cause.code === "ABORTED") throw cause;
      throw new KpopError("IO_ERROR", `${archive} is not a usable tar archive: ${cause.message}`, { cause });
    });
  const names = await run("-tf", archive);
  for (const name of names.split("\n")) if (name !== "") placeOf(name, archive);
  await run("-xf", archive, "--no-same-owner", "-C", target);
  await checkLinks(archive, target);
  const libtorch = join(target, "libtorch");
  if (await exists(libtorch)) await rename(libtorch, join(target, "torch"));
}

/** Where an archive's file goes, or null when it is not needed. */
function placeOf(name: string, archive: string): string | null {
  const parts = name.split("/");
  if (name.startsWith("/") || name.includes("\\") || name.includes("\0") || parts.includes("..")) {
    throw unsafe(archive, name);
  }
  const place = name.replace(/^libtorch\//, "torch/");
  if (NOT_NEEDED.test(place)) return null;
  return /^(?:torch\/(?:lib|include)\/|torch\/(?:version\.py|build-version)$|nvidia\/|[^/]+\.dist-info\/)/.test(
    place,
  )
    ? place
    : null;
}

/** A link inside the unpacked tree that leads out of it would let a later write follow it. */
async function checkLinks(archive: string, target: string): Promise<void> {
  const root = await realpath(target);
  for (const entry of await readdir(target, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue;
    const link = join(entry.parentPath, entry.name);
    const end = await realpath(link).catch(() => null);
    if (end === null || !end.startsWith(root + sep)) throw unsafe(archive, link);
  }
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}

function unsafe(archive: string, name: string): KpopError {
  return new KpopError(
    "IO_ERROR",
    `${basename(archive)} is refused: its entry ${JSON.stringify(name)} leads out of the folder it is unpacked into`,
  );
}

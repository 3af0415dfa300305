import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { KpopError } from "../errors";
import { checkTarget } from "../files/atomic";
import { readCheckpoint } from "./checkpoint-read";
import { modelPath } from "./model-path";
import { foreignFiles } from "./saved-model";
import { checkApart, checkPlaces } from "./source-places";
import { onDisk } from "../files/system-error";

/** Options of `checkOutputFile` and `checkOutputFolder`. */
export interface CheckOutputOptions {
  /** What stands there may be replaced. Default false. */
  force?: boolean;
  /** The model that the output comes from, as `StableDiffusion.load` takes it: an output that is, holds or lies in it is
   *  refused. Default: none. */
  source?: string;
}

/**
 * Throws what saving a model to this folder would throw, before hours of work are spent on it.
 * @throws OUTPUT_NOT_EMPTY; INVALID_ARGUMENT over `source`; NOT_FOUND, IO_ERROR when it cannot be made there
 */
export async function checkOutputFolder(path: string, options: CheckOutputOptions = {}): Promise<void> {
  await checkSource(path, options.source);
  await onDisk("write", path, () =>
    checkTarget(path, { force: options.force ?? false, foreign: foreignFiles }),
  );
  await checkCreatable(path);
}

/**
 * Throws what writing this file would throw. Its folder has to be there.
 * @throws OUTPUT_NOT_EMPTY when the file exists, unless `force`; INVALID_ARGUMENT over `source`; NOT_FOUND, IO_ERROR
 */
export async function checkOutputFile(path: string, options: CheckOutputOptions = {}): Promise<void> {
  await checkSource(path, options.source);
  const found = await kindOf(path);
  if (found === "folder") throw new KpopError("IO_ERROR", `Cannot write ${path}: it is a folder`);
  if (found === "file" && options.force !== true) {
    throw new KpopError(
      "OUTPUT_NOT_EMPTY",
      `The file ${path} exists; choose another name, or ask for it to be replaced (force)`,
    );
  }
  const folder = dirname(path);
  if ((await kindOf(folder)) !== "folder") {
    throw new KpopError("NOT_FOUND", `Cannot write ${path}: there is no folder ${folder}`);
  }
  await checkCreatable(path);
}

async function checkSource(path: string, source: string | undefined): Promise<void> {
  if (source === undefined) return;
  const place = modelPath(source);
  // What is no checkpoint is refused when it is loaded.
  const checkpoint = await readCheckpoint(place).catch(() => null);
  await (checkpoint === null ? checkPlaces([resolve(place)], path) : checkApart(checkpoint, path));
}

/** Looks at the nearest folder that exists: everything below it is to be made there. @throws IO_ERROR */
async function checkCreatable(path: string): Promise<void> {
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    const kind = await kindOf(folder);
    if (kind === "missing") continue;
    if (kind === "file") throw new KpopError("IO_ERROR", `Cannot write ${path}: ${folder} is a file`);
    return await onDisk("write", path, () => access(folder, constants.W_OK | constants.X_OK));
  }
}

async function kindOf(path: string): Promise<"folder" | "file" | "missing"> {
  return await onDisk("write", path, async () => {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      if (error.code === "ENOTDIR") return null;
      throw error;
    });
    return found === null ? "missing" : found.isDirectory() ? "folder" : "file";
  });
}

import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { readFolder } from "./checkpoint-folder";
import { isPickleName, pickleRefused, startsAsPickle } from "./checkpoint-pickle";
import { readSingleFile } from "./checkpoint-single-file";
import type { CheckpointSource } from "./checkpoint-types";
import { MANIFEST_FILE, SINGLE_FILE } from "./file-kinds";
import { onDisk } from "../files/system-error";

/** Finds out what a checkpoint holds: a diffusers folder, a single-file LDM .safetensors, or the
 *  folder that an erasure saved one into. Reads configs and headers
 *  only; `readTensors` reads the weights.
 *  @throws NOT_FOUND; UNSUPPORTED_FORMAT (pickled weights); UNSUPPORTED_MODEL (another family);
 *  INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readCheckpoint(path: string): Promise<CheckpointSource> {
  const absolute = resolve(path);
  const found = await onDisk("read", absolute, () => stat(absolute));
  if (found.isDirectory()) {
    const names = await onDisk("read", absolute, () => readdir(absolute));
    const isResult = names.includes(SINGLE_FILE) && names.includes(MANIFEST_FILE);
    if (names.includes("model_index.json") || !isResult) return await readFolder(absolute);
    return await readSingleFile(join(absolute, SINGLE_FILE));
  }
  if (isPickleName(absolute) || (found.isFile() && (await startsAsPickle(absolute))))
    throw pickleRefused(absolute);
  return await readSingleFile(absolute);
}

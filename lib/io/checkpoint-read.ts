import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { readFolder } from "./checkpoint-folder";
import { isPickleName, pickleRefused, startsAsPickle } from "./checkpoint-pickle";
import { readSingleFile } from "./checkpoint-single-file";
import type { CheckpointSource } from "./checkpoint-types";
import { onDisk } from "../files/system-error";

/** Finds out what a checkpoint holds: a diffusers folder, or a single-file LDM .safetensors. Reads configs and headers
 *  only; `readTensors` reads the weights.
 *  @throws NOT_FOUND; UNSUPPORTED_FORMAT (pickled weights); UNSUPPORTED_MODEL (another family);
 *  INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readCheckpoint(path: string): Promise<CheckpointSource> {
  const absolute = resolve(path);
  const found = await onDisk("read", absolute, () => stat(absolute));
  if (found.isDirectory()) return await readFolder(absolute);
  if (isPickleName(absolute) || (found.isFile() && (await startsAsPickle(absolute))))
    throw pickleRefused(absolute);
  return await readSingleFile(absolute);
}

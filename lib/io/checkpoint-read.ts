import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { deltaRefused, loraRefused } from "./checkpoint-change-only";
import { readFolder } from "./checkpoint-folder";
import { isPickleName, pickleRefused, startsAsPickle } from "./checkpoint-pickle";
import { checkPrediction, readSingleFile, type ReadOptions } from "./checkpoint-single-file";
import type { CheckpointSource } from "./checkpoint-types";
import { DELTA_FILE, LORA_FILE, MANIFEST_FILE, SINGLE_FILE } from "./file-kinds";
import { onDisk } from "../files/system-error";

/** What diffusers and PEFT call a LoRA in a folder of its own. */
const OTHER_LORA_FILES = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];

/** Finds out what a checkpoint holds: a diffusers folder, a single-file LDM .safetensors, or the folder that an erasure
 *  saved one into. Reads configs and headers only; `readTensors` reads the weights.
 *  @throws NOT_FOUND; UNSUPPORTED_FORMAT (pickled weights); UNSUPPORTED_MODEL (another family);
 *  INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readCheckpoint(path: string, options: ReadOptions = {}): Promise<CheckpointSource> {
  const absolute = resolve(path);
  const found = await onDisk("read", absolute, () => stat(absolute));
  if (found.isDirectory()) return await readAnyFolder(absolute, options);
  if (isPickleName(absolute) || (found.isFile() && (await startsAsPickle(absolute))))
    throw pickleRefused(absolute);
  return await readSingleFile(absolute, options);
}

/** A diffusers folder, or what a saved erasure has in its place: one file, or a change of another model. */
async function readAnyFolder(path: string, options: ReadOptions): Promise<CheckpointSource> {
  const names = await onDisk("read", path, () => readdir(path));
  if (names.includes("model_index.json")) return await readModelFolder(path, options);
  if (names.includes(DELTA_FILE)) throw deltaRefused(path);
  if (names.includes(LORA_FILE)) throw loraRefused(path, true);
  if (names.some((name) => OTHER_LORA_FILES.includes(name))) throw loraRefused(path, false);
  if (names.includes(MANIFEST_FILE) && names.includes(SINGLE_FILE))
    return await readSingleFile(join(path, SINGLE_FILE), options);
  return await readModelFolder(path, options);
}

async function readModelFolder(path: string, options: ReadOptions): Promise<CheckpointSource> {
  const source = await readFolder(path);
  checkPrediction(path, source.scheduler, options);
  return source;
}

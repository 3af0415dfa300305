import { readdir } from "node:fs/promises";
import type { Dirent } from "node:fs";
import { join } from "node:path";
import { isJsonObject, readJsonObject } from "../files/json-file";
import { INTERVENTION_TENSORS_FILE, INTERVENTIONS_FILE, LOG_FILE, MANIFEST_FILE } from "./file-kinds";

/** Folders of a pipeline. */
const PARTS =
  /^(?:unet|vae|text_encoder|tokenizer|text_encoder_2|tokenizer_2|scheduler|feature_extractor|safety_checker|image_encoder)$/;
/** Files in them. */
const PART_FILES =
  /^(?:(?:(?:generation_|preprocessor_|scheduler_)?config|vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|merges\.txt|(?:diffusion_pytorch_model|model)(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?)$/;
/** Files of ours beside them. */
const OWN = [MANIFEST_FILE, LOG_FILE, INTERVENTIONS_FILE, INTERVENTION_TENSORS_FILE];
/** Files of others beside them. */
const DOCUMENTS = /^(?:README|LICEN[CS]E|NOTICE|COPYING)(?:\.(?:md|txt))?$/i;

/** Whether a file of this name tells of a model: its card, its terms. */
export function isDocument(name: string): boolean {
  return DOCUMENTS.test(name);
}

/**
 * What of a folder belongs to no saved model, by name, folders with a slash: all of it where no saved model is there.
 * One is where a kpop-run.json lies, or a model_index.json with a UNet. Told by names alone, so that a folder which is
 * half written or damaged can be replaced too.
 */
export async function foreignFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const has = (name: string): boolean => entries.some((entry) => entry.name === name && entry.isFile());
  const weights = has(MANIFEST_FILE) ? await listedWeights(join(folder, MANIFEST_FILE)) : new Set<string>();
  const unet = await readdir(join(folder, "unet")).catch((): string[] => []);
  const isPipeline = has("model_index.json") && unet.includes("config.json");
  const foreign: string[] = [];
  for (const entry of entries) {
    const { name } = entry;
    if (isPipeline && entry.isDirectory() && PARTS.test(name)) {
      for (const file of await readdir(join(folder, name), { withFileTypes: true }))
        if (!file.isFile() || (!PART_FILES.test(file.name) && !weights.has(`${name}/${file.name}`)))
          foreign.push(`${name}/${shown(file)}`);
    } else if (!(entry.isFile() && isOwnFile(name, isPipeline, weights))) foreign.push(shown(entry));
  }
  return foreign;
}

function isOwnFile(name: string, isPipeline: boolean, weights: ReadonlySet<string>): boolean {
  if (OWN.includes(name) || weights.has(name)) return true;
  return isPipeline && (name === "model_index.json" || isDocument(name));
}

/** The weight files that a manifest says were saved with it. */
async function listedWeights(path: string): Promise<Set<string>> {
  const { outputs } = await readJsonObject(path).catch(() => ({ outputs: {} }));
  const names = isJsonObject(outputs) ? Object.keys(outputs) : [];
  return new Set(names.filter((name) => name.endsWith(".safetensors")));
}

function shown(entry: Dirent): string {
  return entry.isDirectory() ? `${entry.name}/` : entry.name;
}

import { dirname } from "node:path";
import { filePath, flag, integer, invalid, jobOptions, knownKeys, oneOf } from "../check";
import { saveDelta } from "../io/checkpoint-delta";
import { saveDiffusersFolder } from "../io/checkpoint-save-folder";
import { saveSingleFile, type SaveFileOptions } from "../io/checkpoint-save-single-file";
import { networksOf } from "../io/checkpoint-types";
import type { ChangedTensors, ComponentName, Config, InMemory, TensorData } from "../io/checkpoint-types";
import { checkPlaceFor, writeInterventions } from "../io/interventions-file";
import { DELTA_FILE, LORA_FILE, SINGLE_FILE } from "../io/file-kinds";
import { makeFolder } from "../files/make-folder";
import { LORA_RANK, saveLora } from "./save-lora";
import type { Model } from "./model";

/**
 * diffusers: a folder. single-file: one .safetensors that WebUI and ComfyUI load. delta: what changed, alone. lora: what
 * changed, approximately, for tools that load LoRAs onto the base.
 */
export const SAVE_FORMATS = ["diffusers", "single-file", "delta", "lora"] as const;
/** One of `SAVE_FORMATS`. */
export type SaveFormat = (typeof SAVE_FORMATS)[number];

/** Those that are one file. */
export type FileFormat = Exclude<SaveFormat, "diffusers">;

/** What the file is called where a run's result goes into a folder. */
export const SAVED_FILES: Readonly<Record<FileFormat, string>> = {
  "single-file": SINGLE_FILE,
  delta: DELTA_FILE,
  lora: LORA_FILE,
};

/** How a model is written. */
export interface SaveOptions {
  /** Default "diffusers". */
  format?: SaveFormat;
  /** Of a LoRA's layers. Default 32. */
  rank?: number;
  /** Replace what stands at the path. Default false. */
  force?: boolean;
  signal?: AbortSignal;
}

/** The parameters whose values are no longer the source's, by component and key. */
export function changedTensors(model: Model): ChangedTensors {
  const changed: Partial<Record<ComponentName, Map<string, TensorData>>> = {};
  for (const [component] of networksOf(model.source)) {
    const network = model[component]!;
    const names = network
      .parameterNames()
      .filter((name) => network.parameter(name).written || (component === "unet" && model.changed.has(name)));
    changed[component] = new Map(names.map((name) => [name, network.parameter(name)]));
  }
  return changed;
}

/** A model's tensors, for saving where the source's files have changed. */
export function inMemory(model: Model): InMemory {
  return (component, key) => model[component]!.parameter(key);
}

/** @param trained the rank of a LoRA that was trained, which has no other @throws INVALID_ARGUMENT */
export function loraRank(format: SaveFormat, given: number | undefined, trained?: number): number {
  if (trained !== undefined && given !== undefined && given !== trained)
    throw invalid("rank", `${trained}, with which the LoRA was trained,`, given);
  if (given !== undefined && format !== "lora")
    throw invalid("rank", 'nothing unless the format is "lora"', given);
  return integer("rank", given ?? trained ?? LORA_RANK, 1);
}

/** Writes a model, what changed in it, or a LoRA of that, with the manifest in the latter two's metadata. */
export async function saveFile(
  model: Model,
  changed: ChangedTensors,
  path: string,
  {
    format,
    rank,
    manifest,
    ...given
  }: Omit<SaveFileOptions, "memory"> & { format: FileFormat; rank: number; manifest: Config },
): Promise<void> {
  const { source } = model;
  const options = { ...given, memory: inMemory(model) };
  if (format === "single-file") return saveSingleFile(source, changed, path, options);
  if (format === "delta") return saveDelta(source, changed, path, manifest, options);
  return saveLora(source, changed, path, manifest, { ...options, rank });
}

/** Writes a model to a folder ("diffusers") or a file. The public form is `StableDiffusion.save`. */
export async function saveModel(model: Model, path: string, options: SaveOptions = {}): Promise<void> {
  filePath("path", path);
  knownKeys("the save options", options, ["format", "rank", "force", "signal"]);
  jobOptions(options);
  const format = oneOf("format", options.format ?? "diffusers", SAVE_FORMATS);
  const { force = false, signal } = options;
  const rank = loraRank(format, options.rank);
  flag("force", force);
  const shared = { force, ...(signal === undefined ? {} : { signal }) };
  const changed = changedTensors(model);
  checkPlaceFor(model.interventions, format);
  if (format === "diffusers")
    return saveDiffusersFolder(model.source, changed, path, {
      ...shared,
      memory: inMemory(model),
      async extraFiles(folder) {
        await writeInterventions(folder, model.interventions);
        return {};
      },
    });
  await makeFolder(dirname(path));
  return saveFile(model, changed, path, { ...shared, format, rank, manifest: {} });
}

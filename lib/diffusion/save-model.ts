import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { flag, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { saveDelta } from "../io/checkpoint-delta";
import { saveDiffusersFolder } from "../io/checkpoint-save-folder";
import { saveSingleFile } from "../io/checkpoint-save-single-file";
import { COMPONENTS, type ChangedTensors, type ComponentName, type TensorData } from "../io/checkpoint-types";
import { onDisk } from "../io/system-error";
import type { StableDiffusion } from "./stable-diffusion";

/** diffusers: a folder. single-file: one .safetensors that WebUI and ComfyUI load. delta: what changed, alone. */
export const SAVE_FORMATS = ["diffusers", "single-file", "delta"] as const;
/** One of `SAVE_FORMATS`. */
export type SaveFormat = (typeof SAVE_FORMATS)[number];

/** How a model is written. */
export interface SaveOptions {
  /** Default "diffusers". */
  format?: SaveFormat;
  /** Replace what stands at the path. Default false. */
  force?: boolean;
  signal?: AbortSignal;
}

/** The parameters whose values are no longer the source's, by component and key. */
export function changedTensors(model: StableDiffusion): ChangedTensors {
  const networks = { unet: model.unet, vae: model.vae, textEncoder: model.textEncoder };
  const changed: Partial<Record<ComponentName, Map<string, TensorData>>> = {};
  for (const component of COMPONENTS) {
    const network = networks[component];
    const names = network
      .parameterNames()
      .filter((name) => network.parameter(name).written || (component === "unet" && model.changed.has(name)));
    changed[component] = new Map(names.map((name) => [name, network.parameter(name)]));
  }
  return changed;
}

/** Writes a model to a folder ("diffusers") or a file. The public form is `StableDiffusion.save`. */
export async function saveModel(
  model: StableDiffusion,
  path: string,
  options: SaveOptions = {},
): Promise<void> {
  nonEmptyString("path", path);
  knownKeys("the save options", options, ["format", "force", "signal"]);
  jobOptions(options);
  const format = oneOf("format", options.format ?? "diffusers", SAVE_FORMATS);
  const { force = false, signal } = options;
  flag("force", force);
  const shared = { force, ...(signal === undefined ? {} : { signal }) };
  const changed = changedTensors(model);
  if (format === "diffusers") return saveDiffusersFolder(model.source, changed, path, shared);
  await onDisk("write", path, () => mkdir(dirname(path), { recursive: true }));
  if (format === "single-file") return saveSingleFile(model.source, changed, path, shared);
  return saveDelta(model.source, changed, path, {}, shared);
}

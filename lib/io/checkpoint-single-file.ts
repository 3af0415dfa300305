import { basename, dirname } from "node:path";
import { KpopError } from "../errors";
import { inferConfigs } from "./checkpoint-infer";
import type { InferredConfigs, Shapes } from "./checkpoint-infer";
import { placeLdmUnet, placeLdmVae, placeText } from "./checkpoint-place";
import { deltaRefused, loraRefused } from "./checkpoint-change-only";
import { COMPONENTS } from "./checkpoint-types";
import type { CheckpointSource, ComponentName, TensorLocation } from "./checkpoint-types";
import { locations, weightFile } from "./checkpoint-weights";
import { isJsonObject, parseJsonObject } from "../files/json-file";
import { LDM_PREFIXES } from "./ldm-keys";

/** Metadata key under which a single file carries its configs, as JSON by component folder. */
export const CONFIG_KEY = "kpop.config";

/** What gives other families away, by their keys. */
const FAMILIES: readonly (readonly [RegExp, string])[] = [
  [/^conditioner\.embedders\./, "a Stable Diffusion XL checkpoint"],
  [
    /^cond_stage_model\.model\./,
    "a Stable Diffusion 2 checkpoint (OpenCLIP text encoder), which loads as a diffusers folder alone",
  ],
  [
    /^(?:model\.diffusion_model\.)?(?:joint_blocks|double_blocks)\./,
    "a diffusion transformer (SD3, Flux or the like)",
  ],
  [/^control_model\./, "a ControlNet"],
];
const LORA = /^lora_(?:unet|te)|\.lora_(?:A|B|up|down)\./;

/** Reads the layout of a single-file checkpoint in the original code's naming; no tensor data.
 *  @param path absolute
 *  @throws UNSUPPORTED_MODEL, INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readSingleFile(path: string): Promise<CheckpointSource> {
  const file = await weightFile(dirname(path), basename(path), basename(path));
  const { metadata } = file.header;
  const all = locations(file);
  checkFamily(path, all, metadata);
  const parts = split(path, all);
  const text = placeText(parts.textEncoder, LDM_PREFIXES.textEncoder);
  const carried = metadata.get(CONFIG_KEY);
  const configs =
    carried === undefined
      ? inferConfigs(shapes(parts.unet, "unet"), shapes(parts.vae, "vae"), textShapes(text.tensors), path)
      : readConfigs(carried, path);
  const files = [file];
  return {
    path,
    format: "single-file",
    unet: { config: configs.unet, files, ...placeLdmUnet(parts.unet, configs.unet) },
    vae: { config: configs.vae, files, ...placeLdmVae(parts.vae, configs.vae) },
    textEncoder: { config: configs.textEncoder, files, ...text },
    scheduler: configs.scheduler,
    modelIndex: null,
  };
}

function checkFamily(
  path: string,
  all: readonly TensorLocation[],
  metadata: ReadonlyMap<string, string>,
): void {
  if (metadata.get("kpop.format") === "delta") throw deltaRefused(path);
  if (all.some(({ key }) => LORA.test(key))) throw loraRefused(path);
  for (const [pattern, family] of FAMILIES) {
    if (!all.some(({ key }) => pattern.test(key))) continue;
    throw new KpopError(
      "UNSUPPORTED_MODEL",
      `${path} is ${family}; expected a Stable Diffusion 1 checkpoint`,
    );
  }
}

function split(path: string, all: readonly TensorLocation[]): Record<ComponentName, TensorLocation[]> {
  const parts = { unet: [], vae: [], textEncoder: [] } as Record<ComponentName, TensorLocation[]>;
  for (const component of COMPONENTS) {
    parts[component] = all.filter(({ key }) => key.startsWith(LDM_PREFIXES[component]));
    if (parts[component].length > 0) continue;
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `${path} is no complete single-file checkpoint: it has no tensor named ${LDM_PREFIXES[component]}*`,
    );
  }
  return parts;
}

function shapes(all: readonly TensorLocation[], component: ComponentName): Shapes {
  const start = LDM_PREFIXES[component].length;
  return new Map(all.map(({ key, storedShape }) => [key.slice(start), storedShape]));
}

function textShapes(tensors: ReadonlyMap<string, TensorLocation>): Shapes {
  return new Map([...tensors].map(([key, { shape }]) => [key, shape]));
}

function readConfigs(json: string, path: string): InferredConfigs {
  const what = `${CONFIG_KEY} in ${path}`;
  const { unet, vae, text_encoder: textEncoder, scheduler } = parseJsonObject(json, what);
  if (isJsonObject(unet) && isJsonObject(vae) && isJsonObject(textEncoder) && isJsonObject(scheduler)) {
    return { unet, vae, textEncoder, scheduler };
  }
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `Expected ${what} to hold the objects unet, vae, text_encoder and scheduler`,
  );
}

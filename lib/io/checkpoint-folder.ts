import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { checkFamily, checkPipeline } from "./checkpoint-family";
import { isPickleName, pickleRefused } from "./checkpoint-pickle";
import { placeText, placeUnet, placeVae } from "./checkpoint-place";
import type { Placed } from "./checkpoint-place";
import type {
  CheckpointSource,
  ComponentName,
  ComponentSource,
  Config,
  TensorLocation,
} from "./checkpoint-types";
import { FOLDERS, STEMS } from "./checkpoint-types";
import { findWeights, locations } from "./checkpoint-weights";
import { readInterventions } from "./interventions-file";
import { parseJsonObject, readJsonObject, readText } from "../files/json-file";
import { onDisk } from "../files/system-error";

const CLASSES: Readonly<Record<ComponentName, string>> = {
  unet: "UNet2DConditionModel",
  vae: "AutoencoderKL",
  textEncoder: "CLIPTextModel",
  textEncoder2: "CLIPTextModelWithProjection",
};

const PLACE: Readonly<Record<ComponentName, (all: TensorLocation[]) => Placed>> = {
  unet: placeUnet,
  vae: placeVae,
  textEncoder: (all) => placeText(all),
  textEncoder2: (all) => placeText(all, { projects: true }),
};

/** Reads the layout of a diffusers folder; no tensor data.
 *  @param path absolute
 *  @throws UNSUPPORTED_FORMAT, UNSUPPORTED_MODEL, INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readFolder(path: string): Promise<CheckpointSource> {
  const modelIndex = await readModelIndex(path);
  const isXl = checkPipeline(path, modelIndex) === "xl";
  const [unet, vae, textEncoder] = await Promise.all([
    readComponent(path, "unet"),
    readComponent(path, "vae"),
    readComponent(path, "textEncoder"),
  ]);
  const second = isXl ? { textEncoder2: await readComponent(path, "textEncoder2") } : {};
  const scheduler = await readConfig(path, "scheduler", "scheduler_config.json", withoutInfinity);
  const own = await readInterventions(path);
  const networks = { unet, vae, textEncoder, ...second };
  checkFamily(path, networks);
  return { path, format: "diffusers", ...networks, scheduler, modelIndex, ...own };
}

async function readComponent(root: string, name: ComponentName): Promise<ComponentSource> {
  const config = await readConfig(root, FOLDERS[name], "config.json");
  checkClass(root, name, config);
  const files = await findWeights(join(root, FOLDERS[name]), STEMS[name]);
  return { config, files, ...PLACE[name](files.flatMap(locations)) };
}

function checkClass(root: string, name: ComponentName, config: Config): void {
  const { _class_name: diffusers, architectures } = config;
  const reads = name === "textEncoder" || name === "textEncoder2";
  const found = reads && Array.isArray(architectures) ? (architectures[0] as unknown) : diffusers;
  if (found === undefined && name === "textEncoder") return;
  if (found === CLASSES[name]) return;
  const what = typeof found === "string" ? `a ${found}` : "a network whose config names no class";
  throw unsupported(join(root, FOLDERS[name]), what, `a ${CLASSES[name]}`);
}

async function readModelIndex(path: string): Promise<Config> {
  const names = await onDisk("read", path, () => readdir(path));
  if (names.includes("model_index.json")) return await readJsonObject(join(path, "model_index.json"));
  const pickled = names.find(isPickleName);
  if (pickled !== undefined) throw pickleRefused(join(path, pickled));
  const single = names.find((name) => name.endsWith(".safetensors"));
  const hint = single === undefined ? "" : `; to load ${single}, give the path of that file`;
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `The folder ${path} has no model_index.json, so it is no diffusers checkpoint${hint}`,
  );
}

/** Python writes DPM-Solver's infinite `lambda_min_clipped` as no JSON has it; it is the default, and so left out. */
function withoutInfinity(text: string): string {
  return text.replace(/"lambda_min_clipped"\s*:\s*-Infinity\s*,/, "");
}

async function readConfig(
  root: string,
  folder: string,
  file: string,
  repair: (text: string) => string = (text) => text,
): Promise<Config> {
  const path = join(root, folder, file);
  if ((await stat(path).catch(() => null)) === null) {
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `The checkpoint ${root} is incomplete: ${folder}/${file} is missing`,
    );
  }
  return parseJsonObject(repair(await readText(path)), path);
}

function unsupported(path: string, found: string, expected: string): KpopError {
  return new KpopError("UNSUPPORTED_MODEL", `${path} is ${found}; expected ${expected}`);
}

import { basename, dirname } from "node:path";
import { oneOf } from "../check";
import { KpopError } from "../errors";
import { inferConfigs } from "./checkpoint-infer";
import type { InferredConfigs, Shapes } from "./checkpoint-infer";
import { placeLdmUnet, placeLdmVae, placeText } from "./checkpoint-place";
import { deltaRefused, loraRefused } from "./checkpoint-change-only";
import { checkFamily, EXPECTED, REFINER } from "./checkpoint-family";
import type {
  CheckpointSource,
  ComponentName,
  ComponentSource,
  Config,
  TensorLocation,
} from "./checkpoint-types";
import { locations, weightFile } from "./checkpoint-weights";
import { isJsonObject, parseJsonObject } from "../files/json-file";
import { isOpenClip, LDM_PREFIXES, type LdmFamily } from "./ldm-keys";
import { placeOpenClip } from "./open-clip-keys";

/** Metadata key under which a single file carries its configs, as JSON by component folder. */
export const CONFIG_KEY = "kpop.config";

/** What gives other kinds of models away, by their keys. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/^conditioner\.embedders\.0\.model\./, REFINER],
  [
    /^(?:model\.diffusion_model\.)?joint_blocks\./,
    `a diffusion transformer (Stable Diffusion 3 or the like); ${EXPECTED}`,
  ],
  [
    /^(?:model\.diffusion_model\.)?(?:double_blocks|single_blocks)\.|^single_transformer_blocks\./,
    `a diffusion transformer (FLUX or the like); ${EXPECTED}`,
  ],
  [/^transformer_blocks\./, `a diffusion transformer (Stable Diffusion 3 or the like); ${EXPECTED}`],
  [
    /^edm_(?:mean|std|vpred)/,
    `an EDM model (CosXL, Playground 2.5), whose noise levels are others; ${EXPECTED}`,
  ],
  [/^control_model\./, `a ControlNet; ${EXPECTED}`],
];
const LORA = /^(?:lora|lycoris)_(?:unet|te\d?|transformer)_|\.lora_(?:A|B|up|down)\.|[._]lora\.(?:up|down)\./;
const KOHYA = /^lora_\w+\.(?:lora_(?:up|down)\.weight|alpha)$/;

/** Tensors by whose names alone single files say that a network predicts v, and that its last timestep is noise alone. */
const V_MARK = "v_pred";
const SNR_MARK = "ztsnr";

/** How a checkpoint is read. */
export interface ReadOptions {
  /** What the network predicts, where a single file does not say. */
  prediction?: "epsilon" | "v";
}

/** What is told of a checkpoint, among other options. @throws INVALID_ARGUMENT on another prediction than there is */
export function toldOf({ prediction }: { prediction?: unknown }): ReadOptions {
  return prediction === undefined
    ? {}
    : { prediction: oneOf("prediction", prediction, ["epsilon", "v"] as const) };
}

/** Reads the layout of a single-file checkpoint in the original code's naming; no tensor data.
 *  @param path absolute
 *  @throws UNSUPPORTED_MODEL, INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR; INVALID_ARGUMENT when it is not to be told
 *    what the network predicts, or is told otherwise than the file says */
export async function readSingleFile(path: string, options: ReadOptions = {}): Promise<CheckpointSource> {
  const file = await weightFile(dirname(path), basename(path), basename(path));
  const { metadata } = file.header;
  const all = locations(file);
  checkKind(path, all, metadata);
  const family = familyOf(all);
  const parts = split(path, all, family);
  const carried = metadata.get(CONFIG_KEY);
  const shapes = (component: ComponentName): Shapes => {
    const prefix = LDM_PREFIXES[family][component]!;
    const own = parts[component]!;
    // CLIP's keys are looked for under the layer that some files leave out.
    const isClip = component === "textEncoder" && !isOpenClip(family, component);
    return isClip
      ? new Map([...placeText(own, { prefix }).tensors].map(([key, { shape }]) => [key, shape]))
      : new Map(own.map(({ key, storedShape }) => [key.slice(prefix.length), storedShape]));
  };
  const configs =
    carried === undefined
      ? inferConfigs(family, shapes, { path, ...options })
      : readConfigs(carried, path, parts.textEncoder2 !== undefined);
  const files = [file];
  const text = (component: "textEncoder" | "textEncoder2", config: Config): ComponentSource => {
    const prefix = LDM_PREFIXES[family][component]!;
    const own = parts[component]!;
    const placed = isOpenClip(family, component)
      ? placeOpenClip(own, { prefix, layers: layersOf(config), projects: component === "textEncoder2" })
      : placeText(own, { prefix });
    return { config, files, ...placed };
  };
  const networks = {
    unet: { config: configs.unet, files, ...placeLdmUnet(parts.unet!, configs.unet) },
    vae: { config: configs.vae, files, ...placeLdmVae(parts.vae!, configs.vae) },
    textEncoder: text("textEncoder", configs.textEncoder),
    ...(configs.textEncoder2 === undefined
      ? {}
      : { textEncoder2: text("textEncoder2", configs.textEncoder2) }),
  };
  checkFamily(path, networks);
  const marked = all.some(({ key }) => key === V_MARK);
  const said = carried !== undefined || marked;
  const scheduler = {
    ...configs.scheduler,
    ...(marked ? { prediction_type: "v_prediction" } : {}),
    ...(all.some(({ key }) => key === SNR_MARK) ? { rescale_betas_zero_snr: true } : {}),
  };
  return {
    path,
    format: "single-file",
    ...networks,
    scheduler: predicting(path, scheduler, { family, said }, options),
    modelIndex: configs.modelIndex ?? null,
  };
}

/** The scheduler with what the network predicts in it. @param told.said whether the file itself says so */
function predicting(
  path: string,
  scheduler: Config,
  told: { family: LdmFamily; said: boolean },
  options: ReadOptions,
): Config {
  if (told.said) {
    checkPrediction(path, scheduler, options);
    return scheduler;
  }
  if (options.prediction !== undefined) return { ...scheduler, prediction_type: typeOf(options.prediction) };
  if (told.family !== "sd2") return scheduler;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `${path} is a single file of Stable Diffusion 2, which does not say what its network predicts: give prediction "v" ` +
      'for models of 768 pixels (2.0, 2.1), or "epsilon" for those of 512 (the base models); on the command line --prediction',
  );
}

function typeOf(prediction: "epsilon" | "v"): string {
  return prediction === "v" ? "v_prediction" : prediction;
}

/** Refuses to be told otherwise than a checkpoint says. @throws INVALID_ARGUMENT */
export function checkPrediction(path: string, scheduler: Config, { prediction }: ReadOptions): void {
  const own = scheduler["prediction_type"] ?? "epsilon";
  if (prediction === undefined || typeOf(prediction) === own) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected the prediction that ${path} names itself (${JSON.stringify(own)}) but received ${prediction}; leave it out`,
  );
}

function checkKind(
  path: string,
  all: readonly TensorLocation[],
  metadata: ReadonlyMap<string, string>,
): void {
  if (metadata.get("kpop.format") === "delta") throw deltaRefused(path);
  if (all.some(({ key }) => LORA.test(key)))
    throw loraRefused(
      path,
      all.every(({ key }) => KOHYA.test(key)),
    );
  for (const [pattern, what] of OTHERS) {
    if (!all.some(({ key }) => pattern.test(key))) continue;
    throw new KpopError("UNSUPPORTED_MODEL", `${path} is ${what}`);
  }
}

/** By how its text encoders are named. */
function familyOf(all: readonly TensorLocation[]): LdmFamily {
  const has = (prefix: string): boolean => all.some(({ key }) => key.startsWith(prefix));
  if (has("conditioner.embedders.")) return "xl";
  return has(LDM_PREFIXES.sd2.textEncoder!) ? "sd2" : "sd1";
}

function split(
  path: string,
  all: readonly TensorLocation[],
  family: LdmFamily,
): Partial<Record<ComponentName, TensorLocation[]>> {
  const parts: Partial<Record<ComponentName, TensorLocation[]>> = {};
  for (const [component, prefix] of Object.entries(LDM_PREFIXES[family]) as [ComponentName, string][]) {
    const own = all.filter(({ key }) => key.startsWith(prefix));
    if (own.length === 0)
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${path} is no complete single-file checkpoint: it has no tensor named ${prefix}*`,
      );
    parts[component] = own;
  }
  return parts;
}

function layersOf(config: Config): number {
  const layers = config["num_hidden_layers"];
  return typeof layers === "number" ? layers : 12;
}

function readConfigs(json: string, path: string, isXl: boolean): InferredConfigs {
  const what = `${CONFIG_KEY} in ${path}`;
  const parsed = parseJsonObject(json, what);
  const { unet, vae, text_encoder: textEncoder, scheduler } = parsed;
  const { text_encoder_2: textEncoder2, model_index: modelIndex } = parsed;
  const known = [unet, vae, textEncoder, scheduler, ...(isXl ? [textEncoder2] : [])].every(isJsonObject);
  if (!known)
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected ${what} to hold the objects unet, vae, text_encoder${isXl ? ", text_encoder_2" : ""} and scheduler`,
    );
  return {
    ...({ unet, vae, textEncoder, scheduler } as Record<
      "unet" | "vae" | "textEncoder" | "scheduler",
      Config
    >),
    ...(isXl ? { textEncoder2: textEncoder2 as Config } : {}),
    ...(isJsonObject(modelIndex) ? { modelIndex } : {}),
  };
}

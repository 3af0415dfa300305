import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isPickleName } from "./checkpoint-pickle";
import { readTokenizer, TOKENIZER_FOLDERS, tokenizersOf, type TokenizerName } from "./checkpoint-tokenizer";
import { TOKENIZER_FILES } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";
import { FOLDERS, forcesZeros, networksOf } from "./checkpoint-types";
import type { CheckpointSource, ComponentName, ComponentSource, Config } from "./checkpoint-types";
import { copyContent, copyInside, copyTree, linkRoot } from "../files/copy-tree";
import { formatJson, parseJsonObject, readText } from "../files/json-file";

const WEIGHTS =
  /\.(?:safetensors|safetensors\.index.*\.json|bin\.index.*\.json|msgpack|h5|onnx|onnx_data|ot|gguf)$/i;
const FOREIGN = /\.(?:bin\.index.*\.json|msgpack|h5|onnx|onnx_data|ot|gguf)$/i;
const LICENCES = /^(?:LICEN[CS]E|NOTICE|COPYING)/i;
const README = /^README/i;

/** Copies what a diffusers folder holds besides the weights of its networks, into a folder that has those
 *  already. A part that comes as pickle only, or not at all (of a hub's models only what is needed here is downloaded), is
 *  marked so in model_index.json. What has changed in the source since it was read is written as it was then. A README
 *  goes along when the weights are still those that it tells of.
 *  @returns the parts that the source no longer has, which are marked so too */
export async function copyFolderFiles(
  source: CheckpointSource,
  folder: string,
  { unchanged }: { unchanged: boolean },
): Promise<string[]> {
  const root = await linkRoot(source.path).catch(() => null);
  for (const [part, name, text] of essentials(source)) {
    await mkdir(join(folder, part), { recursive: true });
    const from = join(source.path, part, name);
    const now = await readText(from).catch(() => null);
    if (now !== null && (text === undefined || isSame(now, text)))
      await copyContent(from, join(folder, part, name));
    else if (text !== undefined) await writeFile(join(folder, part, name), text);
  }
  for (const [name, network] of textEncodersOf(source)) {
    const text = textEncoderConfig(network);
    if (text !== network.config)
      await writeFile(join(folder, FOLDERS[name], "config.json"), formatConfig(text));
  }
  const modelIndex: Record<string, unknown> = { ...source.modelIndex };
  const essential = new Set<string>(essentials(source).map(([part]) => part));
  const networks = new Set<string>(Object.values(FOLDERS));
  const gone: string[] = [];
  for (const [part, value] of Object.entries(modelIndex)) {
    const from = join(source.path, part);
    if (!Array.isArray(value) || value[0] === null || !/^[\w-]+$/.test(part)) continue;
    if (root === null || !(await exists(from))) {
      if (essential.has(part)) continue;
      modelIndex[part] = [null, null];
      if (root === null) gone.push(part);
    } else if (networks.has(part)) {
      await copyTree(from, join(folder, part), root, (name) => !WEIGHTS.test(name) && !isPickleName(name));
    } else if (await isPickleOnly(from)) {
      modelIndex[part] = [null, null];
    } else {
      await copyTree(from, join(folder, part), root, (name) => !FOREIGN.test(name) && !isPickleName(name));
    }
  }
  if (root !== null)
    for (const name of await readdir(source.path))
      if (LICENCES.test(name) || (unchanged && README.test(name)))
        await copyInside(join(source.path, name), join(folder, name), root);
  await writeFile(join(folder, "model_index.json"), formatJson(modelIndex));
  return gone;
}

/** Files without which the folder does not load, with what reading the checkpoint found in them. They are texts, so they
 *  are taken even through a link that leads elsewhere. */
function essentials(source: CheckpointSource): [part: string, name: string, text: string | undefined][] {
  const ofTokenizer = (which: TokenizerName): [string, string, string | undefined][] => {
    const files = source[which];
    return (Object.entries(TOKENIZER_FILES) as [keyof TokenizerFiles, string][])
      .filter(([field]) => files === undefined || files[field] !== undefined)
      .map(([field, name]) => [TOKENIZER_FOLDERS[which], name, files?.[field]]);
  };
  return [
    ...networksOf(source).map(([component, { config }]): [string, string, string] => [
      FOLDERS[component],
      "config.json",
      formatConfig(config),
    ]),
    ["scheduler", "scheduler_config.json", formatJson(source.scheduler)],
    ...tokenizersOf(source).flatMap(ofTokenizer),
  ];
}

/** A network's config.json. transformers 5 refuses an `initializer_factor` of 1, which Python tells from 1.0. */
export function formatConfig(config: Config): string {
  return formatJson(config).replace(/("initializer_factor": \d+)(?=,?\n)/, "$1.0");
}

/** Whether two texts are the same, or the same JSON. */
function isSame(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    return JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
  } catch {
    return false;
  }
}

/** Writes what a diffusers folder needs besides weights and the networks' configs, from a single-file checkpoint.
 *  @throws NOT_FOUND when the checkpoint comes without tokenizer */
export async function writeFolderFiles(source: CheckpointSource, folder: string): Promise<void> {
  const positions = source.textEncoder.config["max_position_embeddings"] ?? 77;
  for (const which of tokenizersOf(source)) {
    const tokenizer = await readTokenizer(source, which);
    const known = parseJsonObject(tokenizer.config ?? "{}", TOKENIZER_FILES.config);
    if (known["tokenizer_class"] === undefined)
      tokenizer.config = formatJson({
        ...CLIP_TOKENS,
        model_max_length: positions,
        tokenizer_class: "CLIPTokenizer",
        ...known,
      });
    await mkdir(join(folder, TOKENIZER_FOLDERS[which]));
    for (const [field, name] of Object.entries(TOKENIZER_FILES) as [keyof TokenizerFiles, string][]) {
      const text = tokenizer[field];
      if (text !== undefined) await writeFile(join(folder, TOKENIZER_FOLDERS[which], name), text);
    }
  }
  await mkdir(join(folder, "scheduler"));
  await writeFile(join(folder, "scheduler", "scheduler_config.json"), formatJson(source.scheduler));
  await writeFile(join(folder, "model_index.json"), formatJson(modelIndexOf(source)));
}

/** The text encoders of a checkpoint. */
export function textEncodersOf(source: CheckpointSource): [ComponentName, ComponentSource][] {
  return networksOf(source).filter(([name]) => isTextEncoder(name));
}

export function isTextEncoder(name: ComponentName): boolean {
  return name === "textEncoder" || name === "textEncoder2";
}

/**
 * A text encoder's config, to run in float32: transformers 5 loads weights in the dtype that the config names, or else
 * in the stored one, where diffusers loads the UNet in float32 unless it is told a dtype. A text encoder in float16 beside
 * that draws nothing. The same object where it says so already.
 */
export function textEncoderConfig({ config, tensors }: ComponentSource): Config {
  const named = config["dtype"] ?? config["torch_dtype"];
  const stored = [...tensors.values()].every(({ dtype }) => dtype === "F32");
  if (named === "float32" || ((named ?? null) === null && stored)) return config;
  return { ...config, ...("dtype" in config ? { dtype: "float32" } : {}), torch_dtype: "float32" };
}

const CLIP_TOKENS: Config = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
};

function modelIndexOf(source: CheckpointSource): Config {
  const scheduler = ["diffusers", source.scheduler["_class_name"] ?? "PNDMScheduler"];
  const networks = {
    text_encoder: ["transformers", "CLIPTextModel"],
    tokenizer: ["transformers", "CLIPTokenizer"],
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
  if (source.textEncoder2 !== undefined)
    return {
      _class_name: "StableDiffusionXLPipeline",
      _diffusers_version: "0.19.0",
      feature_extractor: [null, null],
      force_zeros_for_empty_prompt: forcesZeros(source),
      image_encoder: [null, null],
      scheduler,
      ...networks,
      text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
      tokenizer_2: ["transformers", "CLIPTokenizer"],
    };
  return {
    _class_name: "StableDiffusionPipeline",
    _diffusers_version: "0.7.0",
    feature_extractor: [null, null],
    requires_safety_checker: false,
    safety_checker: [null, null],
    scheduler,
    ...networks,
  };
}

async function isPickleOnly(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some(isPickleName) && !names.some((name) => name.endsWith(".safetensors"));
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isPickleName } from "./checkpoint-pickle";
import { readTokenizer } from "./checkpoint-tokenizer";
import { TOKENIZER_FILES } from "./tokenizer-files";
import type { TokenizerFiles } from "./tokenizer-files";
import { COMPONENTS, FOLDERS } from "./checkpoint-types";
import type { CheckpointSource, Config } from "./checkpoint-types";
import { copyContent, copyInside, copyTree, linkRoot } from "../files/copy-tree";
import { formatJson } from "../files/json-file";

/** Files without which the folder does not load. They are texts that reading the checkpoint has made sense of, so
 *  they are taken even through a link that leads elsewhere. */
const ESSENTIAL: readonly (readonly [string, readonly string[]])[] = [
  ...COMPONENTS.map((component) => [FOLDERS[component], ["config.json"]] as const),
  ["scheduler", ["scheduler_config.json"]],
  ["tokenizer", Object.values(TOKENIZER_FILES)],
];

const WEIGHTS =
  /\.(?:safetensors|safetensors\.index.*\.json|bin\.index.*\.json|msgpack|h5|onnx|onnx_data|ot|gguf)$/i;
const FOREIGN = /\.(?:bin\.index.*\.json|msgpack|h5|onnx|onnx_data|ot|gguf)$/i;
const LICENCES = /^(?:LICEN[CS]E|NOTICE|COPYING)/i;
const README = /^README/i;

/** Copies what a diffusers folder holds besides the weights of its three networks, into a folder that has those
 *  already. A part that comes as pickle only is left out, and marked so in model_index.json. A README goes along when the
 *  weights are still those that it tells of. */
export async function copyFolderFiles(
  source: CheckpointSource,
  folder: string,
  { unchanged }: { unchanged: boolean },
): Promise<void> {
  const root = await linkRoot(source.path);
  for (const [part, names] of ESSENTIAL) {
    await mkdir(join(folder, part), { recursive: true });
    for (const name of names) {
      const from = join(source.path, part, name);
      if (await exists(from)) await copyContent(from, join(folder, part, name));
    }
  }
  const modelIndex: Record<string, unknown> = { ...source.modelIndex };
  const networks = new Set<string>(Object.values(FOLDERS));
  for (const [part, value] of Object.entries(modelIndex)) {
    const from = join(source.path, part);
    if (!Array.isArray(value) || value[0] === null || !/^[\w-]+$/.test(part) || !(await exists(from)))
      continue;
    if (networks.has(part)) {
      await copyTree(from, join(folder, part), root, (name) => !WEIGHTS.test(name) && !isPickleName(name));
    } else if (await isPickleOnly(from)) {
      modelIndex[part] = [null, null];
    } else {
      await copyTree(from, join(folder, part), root, (name) => !FOREIGN.test(name) && !isPickleName(name));
    }
  }
  for (const name of await readdir(source.path)) {
    if (LICENCES.test(name) || (unchanged && README.test(name)))
      await copyInside(join(source.path, name), join(folder, name), root);
  }
  await writeFile(join(folder, "model_index.json"), formatJson(modelIndex));
}

/** Writes what a diffusers folder needs besides weights and the networks' configs, from a single-file checkpoint.
 *  @throws NOT_FOUND when the checkpoint comes without tokenizer */
export async function writeFolderFiles(source: CheckpointSource, folder: string): Promise<void> {
  const tokenizer = await readTokenizer(source);
  const positions = source.textEncoder.config["max_position_embeddings"] ?? 77;
  tokenizer.config ??= formatJson({
    ...CLIP_TOKENS,
    model_max_length: positions,
    tokenizer_class: "CLIPTokenizer",
  });
  await mkdir(join(folder, "tokenizer"));
  for (const [field, name] of Object.entries(TOKENIZER_FILES) as [keyof TokenizerFiles, string][]) {
    const text = tokenizer[field];
    if (text !== undefined) await writeFile(join(folder, "tokenizer", name), text);
  }
  await mkdir(join(folder, "scheduler"));
  await writeFile(join(folder, "scheduler", "scheduler_config.json"), formatJson(source.scheduler));
  await writeFile(join(folder, "model_index.json"), formatJson(modelIndexOf(source)));
}

const CLIP_TOKENS: Config = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
};

function modelIndexOf({ scheduler }: CheckpointSource): Config {
  return {
    _class_name: "StableDiffusionPipeline",
    _diffusers_version: "0.7.0",
    feature_extractor: [null, null],
    requires_safety_checker: false,
    safety_checker: [null, null],
    scheduler: ["diffusers", scheduler["_class_name"] ?? "PNDMScheduler"],
    text_encoder: ["transformers", "CLIPTextModel"],
    tokenizer: ["transformers", "CLIPTokenizer"],
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
}

async function isPickleOnly(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some(isPickleName) && !names.some((name) => name.endsWith(".safetensors"));
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

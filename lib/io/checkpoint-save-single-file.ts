import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { KpopError } from "../errors";
import { withChanges } from "./checkpoint-changes";
import type { ChangedSource } from "./checkpoint-changes";
import { positionIdsKey } from "./checkpoint-place";
import { CONFIG_KEY } from "./checkpoint-single-file";
import { readTokenizer } from "./checkpoint-tokenizer";
import { COMPONENTS } from "./checkpoint-types";
import type { ChangedTensors, CheckpointSource, ComponentName, InMemory } from "./checkpoint-types";
import { copyPatched } from "./copy-patched";
import type { KeyMap } from "./key-map";
import { LDM_PREFIXES, textKeyMap, unetKeyMap, vaeKeyMap } from "./ldm-keys";
import { TOKENIZER_KEY, packTokenizer } from "./pack-tokenizer";
import { writeSafetensors } from "./safetensors-writer";
import type { WriteEntry } from "./safetensors-writer";
import { checkApart } from "./source-places";
import { isVaeAttentionWeight } from "./vae-attention-keys";

export interface SaveFileOptions {
  /** Replace a file that exists; default false. */
  force?: boolean;
  /** The model's tensors, for files of the source that have changed since they were read. Default: that is an error. */
  memory?: InMemory;
  signal?: AbortSignal;
}

/** Writes a checkpoint as one safetensors file in the original code's naming, which WebUI and ComfyUI load. Tensors
 *  that did not change keep their bytes, changed ones the dtype that the source stores. From a single file everything
 *  else it holds goes along; from a folder, the configs and the tokenizer go into the metadata.
 *  @throws UNSUPPORTED_FORMAT, OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, INVALID_CHECKPOINT, NO_SPACE, IO_ERROR, ABORTED */
export async function saveSingleFile(
  source: CheckpointSource,
  changed: ChangedTensors,
  path: string,
  options: SaveFileOptions = {},
): Promise<void> {
  checkTextEncoder(source);
  const target = resolve(path);
  await checkFree(target, options);
  await checkApart(source, target, { itself: source.format === "single-file" });
  await withChanges(source, changed, options, async (view) => {
    if (source.format === "single-file") await copyFile(view, target, options.signal);
    else await convert(view, target, options);
  });
}

/** @throws UNSUPPORTED_FORMAT for OpenCLIP's text encoder, which single files of Stable Diffusion 2 name and join otherwise */
function checkTextEncoder({ path, textEncoder }: CheckpointSource): void {
  if (textEncoder.config["hidden_act"] !== "gelu") return;
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `The text encoder of ${path} is OpenCLIP's (Stable Diffusion 2), which is not written as a single file; use the format "diffusers" or "delta"`,
  );
}

/** @throws OUTPUT_NOT_EMPTY when the file is there and is not to be replaced */
export async function checkFree(path: string, options: { force?: boolean }): Promise<void> {
  if (options.force === true || (await stat(path).catch(() => null)) === null) return;
  throw new KpopError(
    "OUTPUT_NOT_EMPTY",
    `${path} exists; choose another name, or ask for it to be replaced (force)`,
  );
}

async function copyFile(view: ChangedSource, target: string, signal: AbortSignal | undefined): Promise<void> {
  const file = view.source.unet.files[0]!;
  const metadata = await withTokenizer(view.source, file.header.metadata);
  if (view.isLost(file.path)) {
    await writeSafetensors(target, view.rebuilt(file), metadata, signal === undefined ? {} : { signal });
    return;
  }
  await copyPatched(file, target, view.patches(file), {
    ...(metadata === file.header.metadata ? {} : { metadata }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function convert(view: ChangedSource, target: string, options: SaveFileOptions): Promise<void> {
  const { unet, vae, textEncoder, scheduler } = view.source;
  const configs = { unet: unet.config, vae: vae.config, text_encoder: textEncoder.config, scheduler };
  const metadata = new Map([
    ["format", "pt"],
    [CONFIG_KEY, JSON.stringify(configs)],
  ]);
  const entries = COMPONENTS.flatMap((component) => ldmEntries(view, component));
  await writeSafetensors(target, entries, await withTokenizer(view.source, metadata), options);
}

function ldmEntries(view: ChangedSource, component: ComponentName): WriteEntry[] {
  const { tensors, config } = view.source[component];
  const map: KeyMap = { unet: unetKeyMap, vae: vaeKeyMap, textEncoder: () => textKeyMap(true) }[component](
    config,
  );
  const entries = [...tensors].map(([key, { shape }]) => {
    const renamed = map.toThere(key);
    if (renamed === null) {
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${key} of the ${component} has no name in a single-file checkpoint`,
      );
    }
    const attention = component === "vae" && isVaeAttentionWeight(key);
    const as = { name: LDM_PREFIXES[component] + renamed, shape: attention ? [...shape, 1, 1] : shape };
    return view.entry(component, key, as);
  });
  for (const [key, { shape }] of view.extra(component)) {
    const renamed = positionIdsKey(key);
    if (renamed === null) continue;
    entries.push(view.entry(component, key, { name: LDM_PREFIXES[component] + renamed, shape }));
  }
  return entries;
}

async function withTokenizer(
  source: CheckpointSource,
  metadata: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, string>> {
  if (metadata.has(TOKENIZER_KEY)) return metadata;
  const files = await readTokenizer(source).catch((error: unknown) => {
    if (source.format === "single-file" && error instanceof KpopError && error.code === "NOT_FOUND")
      return null;
    throw error;
  });
  const packed = files === null ? null : packTokenizer(files);
  return packed === null ? metadata : new Map([...metadata, [TOKENIZER_KEY, packed]]);
}

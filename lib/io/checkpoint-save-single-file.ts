import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { KpopError } from "../errors";
import { withChanges } from "./checkpoint-changes";
import type { ChangedSource } from "./checkpoint-changes";
import { positionIdsKey } from "./checkpoint-place";
import { CONFIG_KEY } from "./checkpoint-single-file";
import { readTokenizer, secondTokenizer, TOKENIZER_KEYS, tokenizersOf } from "./checkpoint-tokenizer";
import { FOLDERS, forcesZeros, networksOf } from "./checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  ComponentSource,
  InMemory,
} from "./checkpoint-types";
import { copyPatched } from "./copy-patched";
import type { KeyMap } from "./key-map";
import {
  isOpenClip,
  LDM_PREFIXES,
  ldmFamily,
  textKeyMap,
  unetKeyMap,
  vaeKeyMap,
  type LdmFamily,
} from "./ldm-keys";
import { openClipNames, type OpenClipName } from "./open-clip-keys";
import { packTokenizer } from "./pack-tokenizer";
import type { PackedPairs } from "./pack-tokenizer";
import { writeSafetensors } from "./safetensors-writer";
import type { WriteEntry } from "./safetensors-writer";
import { checkApart } from "./source-places";
import { transposed } from "./transpose";
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
  const target = resolve(path);
  await checkFree(target, options);
  await checkApart(source, target, { itself: source.format === "single-file" });
  await withChanges(source, changed, options, async (view) => {
    if (source.format === "single-file") await copyFile(view, target, options.signal);
    else await convert(view, target, options);
  });
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
  // What was told of a file that does not say it goes along.
  const told = ldmFamily(view.source) === "sd2" && !file.header.metadata.has(CONFIG_KEY);
  const own = told
    ? new Map([...file.header.metadata, [CONFIG_KEY, configsOf(view.source)]])
    : file.header.metadata;
  const metadata = await withTokenizers(view.source, own);
  if (view.isLost(file.path)) {
    await writeSafetensors(target, view.rebuilt(file), metadata, signal === undefined ? {} : { signal });
    return;
  }
  await copyPatched(file, target, view.patches(file), {
    ...(metadata === file.header.metadata ? {} : { metadata }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The configs as a single file carries them. */
function configsOf(source: CheckpointSource): string {
  return JSON.stringify({
    ...Object.fromEntries(networksOf(source).map(([name, { config }]) => [FOLDERS[name], config])),
    scheduler: source.scheduler,
    // What the pipeline of a family takes anyway needs no saying.
    ...(source.textEncoder2 !== undefined && !forcesZeros(source)
      ? { model_index: { force_zeros_for_empty_prompt: false } }
      : {}),
  });
}

async function convert(view: ChangedSource, target: string, options: SaveFileOptions): Promise<void> {
  const { source } = view;
  const metadata = new Map([
    ["format", "pt"],
    [CONFIG_KEY, configsOf(source)],
  ]);
  const entries = networksOf(source).flatMap(([component, network]) => ldmEntries(view, component, network));
  await writeSafetensors(target, entries, await withTokenizers(source, metadata), options);
}

/** What a single file calls a tensor, and how it has it; null where it has no place for it. */
function nameIn(family: LdmFamily, component: ComponentName, { config }: ComponentSource) {
  if (isOpenClip(family, component)) return openClipNames(Number(config["num_hidden_layers"] ?? 12));
  const map: KeyMap =
    component === "unet" ? unetKeyMap(config) : component === "vae" ? vaeKeyMap(config) : textKeyMap(true);
  return (key: string): OpenClipName | null => {
    const name = map.toThere(key);
    return name === null ? null : { name };
  };
}

function ldmEntries(view: ChangedSource, component: ComponentName, network: ComponentSource): WriteEntry[] {
  const family = ldmFamily(view.source);
  const prefix = LDM_PREFIXES[family][component]!;
  const named = nameIn(family, component, network);
  const entries: WriteEntry[] = [];
  /** Parts, by order, of tensors that the file has as one. */
  const stacks = new Map<string, { entry: WriteEntry; part: number }[]>();
  for (const [key, { shape }] of network.tensors) {
    const found = named(key);
    if (found === null) {
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${key} of the ${component} has no name in a single-file checkpoint`,
      );
    }
    const name = prefix + found.name;
    const attention = component === "vae" && isVaeAttentionWeight(key);
    const entry = view.entry(component, key, { name, shape: attention ? [...shape, 1, 1] : shape });
    if (found.transposed === true) entries.push(turned(entry));
    else if (found.part === undefined) entries.push(entry);
    else stacks.set(name, [...(stacks.get(name) ?? []), { entry, part: found.part }]);
  }
  for (const parts of stacks.values()) entries.push(stacked(parts));
  if (isOpenClip(family, component)) return entries;
  for (const [key, { shape }] of view.extra(component)) {
    const renamed = positionIdsKey(key);
    if (renamed === null) continue;
    entries.push(view.entry(component, key, { name: prefix + renamed, shape }));
  }
  return entries;
}

/** A matrix the other way round. */
function turned({ name, dtype, shape, bytes }: WriteEntry): WriteEntry {
  const whole = async () => transposed(await collected(bytes()), shape, dtype);
  return { name, dtype, shape: [...shape].reverse(), bytes: whole };
}

/** Tensors as one, rows below rows. @throws UNSUPPORTED_FORMAT where they are stored in several dtypes */
function stacked(parts: readonly { entry: WriteEntry; part: number }[]): WriteEntry {
  const inOrder = [...parts].sort((a, b) => a.part - b.part).map(({ entry }) => entry);
  const { name, dtype, shape } = inOrder[0]!;
  if (inOrder.some((entry) => entry.dtype !== dtype))
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${name} of a single file has rows of several tensors, and these are stored in several dtypes; use the format "diffusers" or "delta"`,
    );
  const rows = inOrder.reduce((sum, entry) => sum + entry.shape[0]!, 0);
  const all = async function* (): AsyncGenerator<Uint8Array> {
    for (const { bytes } of inOrder) {
      const content = bytes();
      if (content instanceof Promise) yield await content;
      else yield* content;
    }
  };
  return { name, dtype, shape: [rows, ...shape.slice(1)], bytes: all };
}

async function collected(content: ReturnType<WriteEntry["bytes"]>): Promise<Uint8Array> {
  if (content instanceof Promise) return content;
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

/** The metadata with the tokenizers, of which the second is left out where it follows from the first. */
async function withTokenizers(
  source: CheckpointSource,
  metadata: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, string>> {
  let found = metadata;
  const made: PackedPairs = new Map();
  for (const which of tokenizersOf(source)) {
    const key = TOKENIZER_KEYS[which];
    if (metadata.has(key)) continue;
    const files = await readTokenizer(source, which).catch((error: unknown) => {
      if (source.format === "single-file" && error instanceof KpopError && error.code === "NOT_FOUND")
        return null;
      throw error;
    });
    const packed = files === null ? null : await packTokenizer(files, made);
    const follows =
      which === "tokenizer2" &&
      packed === (await packTokenizer(secondTokenizer(await readTokenizer(source)), made));
    if (packed !== null && !follows) found = new Map([...found, [key, packed]]);
  }
  return found;
}

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDirectoryAtomically } from "../files/atomic";
import { withChanges } from "./checkpoint-changes";
import type { ChangedSource } from "./checkpoint-changes";
import {
  copyFolderFiles,
  formatConfig,
  isTextEncoder,
  textEncoderConfig,
  writeFolderFiles,
} from "./checkpoint-folder-files";
import { positionIdsKey } from "./checkpoint-place";
import { FOLDERS, networksOf, STEMS } from "./checkpoint-types";
import type { ChangedTensors, CheckpointSource, InMemory, WeightFile } from "./checkpoint-types";
import { copyPatched } from "./copy-patched";
import { formatJson } from "../files/json-file";
import { foreignFiles } from "./saved-model";
import { writeSafetensors } from "./safetensors-writer";
import { checkApart } from "./source-places";

export interface SaveFolderOptions {
  /**
   * More text files, by name within the folder; a function is given the folder as it stands before they are added, and may
   * write others into it itself.
   */
  extraFiles?:
    Readonly<Record<string, string>> | ((folder: string) => Promise<Readonly<Record<string, string>>>);
  /** Replace a folder that holds a saved model and nothing else; default false. */
  force?: boolean;
  /** The model's tensors, for files of the source that have changed since they were read. Default: that is an error. */
  memory?: InMemory;
  signal?: AbortSignal;
}

/** Writes a checkpoint as a diffusers folder, whole or not at all. Tensors that did not change keep their bytes,
 *  changed ones the dtype that the source stores. From a folder, its naming, shards, configs, tokenizer and the other
 *  parts that model_index.json names go along, pickled files and links that lead out of it do not.
 *  @throws OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NOT_FOUND (a single file without tokenizer), NO_SPACE, IO_ERROR, ABORTED */
export async function saveDiffusersFolder(
  source: CheckpointSource,
  changed: ChangedTensors,
  directory: string,
  options: SaveFolderOptions = {},
): Promise<void> {
  await checkApart(source, directory, { itself: true });
  const { force = false, signal } = options;
  await withChanges(source, changed, options, async (view) => {
    const fill = async (folder: string) => {
      if (source.format === "diffusers") {
        await copyWeights(view, folder, signal);
        const given = Object.values(changed).some((tensors) => tensors.size > 0);
        const applied = networksOf(source).some(([, { tensors }]) =>
          [...tensors.values()].some(({ home }) => home !== undefined),
        );
        view.leaveOut(...(await copyFolderFiles(source, folder, { unchanged: !given && !applied })));
      } else {
        await convertWeights(view, folder, signal);
        await writeFolderFiles(source, folder);
      }
      const { extraFiles = {} } = options;
      const extra = typeof extraFiles === "function" ? await extraFiles(folder) : extraFiles;
      for (const [name, text] of Object.entries(extra)) await writeFile(join(folder, name), text);
    };
    await writeDirectoryAtomically(directory, fill, { force, foreign: foreignFiles });
  });
}

async function copyWeights(
  view: ChangedSource,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [component, { files }] of networksOf(view.source)) {
    const into = join(folder, FOLDERS[component]);
    await mkdir(into);
    for (const file of files) {
      const options = signal === undefined ? {} : { signal };
      const path = join(into, file.name);
      if (view.isLost(file.path))
        await writeSafetensors(path, view.rebuilt(file), file.header.metadata, options);
      else await copyPatched(file, path, view.patches(file), options);
    }
    const plain = `${STEMS[component]}.safetensors`;
    if (files.length === 1 && files[0]!.name === plain) continue;
    await writeFile(join(into, `${plain}.index.json`), formatJson(shardIndex(view, files)));
  }
}

/** What diffusers and transformers find a tensor's shard by. */
function shardIndex(view: ChangedSource, files: readonly WeightFile[]): object {
  const all = files.flatMap((file) =>
    view.keys(file).map((key) => ({ key, name: file.name, bytes: file.header.tensors.get(key)!.bytes })),
  );
  return {
    metadata: { total_size: all.reduce((sum, { bytes }) => sum + bytes, 0) },
    weight_map: Object.fromEntries(all.map(({ key, name }) => [key, name])),
  };
}

async function convertWeights(
  view: ChangedSource,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [component, network] of networksOf(view.source)) {
    const into = join(folder, FOLDERS[component]);
    await mkdir(into);
    const { tensors, config } = network;
    const entries = [...tensors].map(([key, { shape }]) => view.entry(component, key, { name: key, shape }));
    for (const [key, { shape }] of view.extra(component)) {
      const name = positionIdsKey(key);
      if (name !== null) entries.push(view.entry(component, key, { name, shape }));
    }
    const path = join(into, `${STEMS[component]}.safetensors`);
    const options = signal === undefined ? {} : { signal };
    await writeSafetensors(path, entries, new Map([["format", "pt"]]), options);
    const own = isTextEncoder(component) ? textEncoderConfig(network) : config;
    await writeFile(join(into, "config.json"), formatConfig(own));
  }
}

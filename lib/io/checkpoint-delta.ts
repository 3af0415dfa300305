import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { KpopError } from "../errors";
import { withChanges } from "./checkpoint-changes";
import { checkFree } from "./checkpoint-save-single-file";
import type { SaveFileOptions } from "./checkpoint-save-single-file";
import { COMPONENTS, FOLDERS, networksOf } from "./checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  ComponentSource,
  Config,
  TensorLocation,
  WeightFile,
} from "./checkpoint-types";
import { locations, weightFile } from "./checkpoint-weights";
import { contentHash } from "./content-hash";
import { DELTA_FILE } from "./file-kinds";
import { parseJsonObject } from "../files/json-file";
import { writeSafetensors } from "./safetensors-writer";
import { checkApart } from "./source-places";

/** What changed with respect to a base, its tensors not read yet. */
export interface DeltaSource {
  /** Absolute path of the file. */
  readonly path: string;
  /** The changed tensors by diffusers key, in the base's dtype. */
  readonly tensors: Readonly<Record<ComponentName, ReadonlyMap<string, TensorLocation>>>;
  /** Content hash of each of the base's networks. */
  readonly base: Readonly<Partial<Record<ComponentName, string>>>;
  /** The run that made it, as given to `saveDelta`. */
  readonly manifest: Config;
  readonly file: WeightFile;
}

/** Writes only the changed tensors, in the source's dtypes, as `unet.KEY`, `vae.KEY`, `text_encoder.KEY`, with the
 *  manifest and the hash of every network of the base in the metadata. Reads the whole base for that, unless an
 *  erasure has done so.
 *  @throws OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NO_SPACE, IO_ERROR, ABORTED */
export async function saveDelta(
  source: CheckpointSource,
  changed: ChangedTensors,
  path: string,
  manifest: Config,
  options: SaveFileOptions = {},
): Promise<void> {
  const target = resolve(path);
  await checkFree(target, options);
  await checkApart(source, target);
  await withChanges(source, changed, options, async (view) => {
    const entries = COMPONENTS.flatMap((component) =>
      [...(changed[component] ?? [])].map(([key, { shape }]) =>
        view.entry(component, key, { name: `${FOLDERS[component]}.${key}`, shape }),
      ),
    );
    const base: Record<string, string> = {};
    for (const [component] of networksOf(source))
      base[FOLDERS[component]] = await view.contentHash(component, options);
    const metadata = new Map([
      ["format", "pt"],
      ["kpop.format", "delta"],
      ["kpop.base", JSON.stringify(base)],
      ["kpop.manifest", JSON.stringify(manifest)],
    ]);
    await writeSafetensors(target, entries, metadata, options);
  });
}

/** Reads what a delta holds; no tensor data.
 *  @param path the file, or a folder that has it as delta.safetensors
 *  @throws NOT_FOUND, UNSUPPORTED_FORMAT when it is no delta, INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR */
export async function readDelta(path: string): Promise<DeltaSource> {
  const given = resolve(path);
  const folder = await stat(given).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const absolute = folder ? join(given, DELTA_FILE) : given;
  const file = await weightFile(dirname(absolute), basename(absolute), basename(absolute));
  const { metadata } = file.header;
  if (metadata.get("kpop.format") !== "delta") {
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${absolute} is not a delta (its metadata has no kpop.format "delta")`,
    );
  }
  const hashes = parseJsonObject(metadata.get("kpop.base") ?? "", `kpop.base in ${absolute}`);
  const manifest = parseJsonObject(metadata.get("kpop.manifest") ?? "{}", `kpop.manifest in ${absolute}`);
  const all = locations(file);
  const stray = all.find(({ key }) => !COMPONENTS.some((name) => key.startsWith(`${FOLDERS[name]}.`)));
  if (stray !== undefined)
    throw new KpopError("INVALID_CHECKPOINT", `${absolute} has a tensor of no network: ${stray.key}`);
  const tensors = {} as Record<ComponentName, Map<string, TensorLocation>>;
  const base: Partial<Record<ComponentName, string>> = {};
  for (const component of COMPONENTS) {
    const prefix = `${FOLDERS[component]}.`;
    const own = all.filter(({ key }) => key.startsWith(prefix));
    tensors[component] = new Map(own.map((location) => [location.key.slice(prefix.length), location]));
    const hash = hashes[FOLDERS[component]];
    if (hash === undefined && component === "textEncoder2") continue;
    if (typeof hash !== "string")
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `kpop.base in ${absolute} has no hash of the ${FOLDERS[component]}`,
      );
    base[component] = hash;
  }
  return { path: absolute, tensors, base, manifest, file };
}

/** The base with the delta's tensors in their places, to be loaded or saved like any checkpoint. Reads the whole base
 *  to make sure that it is the one the delta was made from.
 *  @throws INVALID_CHECKPOINT when it is not; IO_ERROR, ABORTED */
export async function applyDelta(
  source: CheckpointSource,
  delta: DeltaSource,
  options: { signal?: AbortSignal } = {},
): Promise<CheckpointSource> {
  const applied: Partial<Record<ComponentName, ComponentSource>> = {};
  for (const component of COMPONENTS) {
    const network = source[component];
    const found = network === undefined ? undefined : await contentHash(network, options);
    if (found !== delta.base[component]) {
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${delta.path} was not made from ${source.path}: the ${FOLDERS[component]} differs from its base's`,
      );
    }
    if (network === undefined) continue;
    const tensors = new Map(network.tensors);
    for (const [key, location] of delta.tensors[component]) {
      const place = tensors.get(key);
      if (place?.dtype !== location.dtype || place.shape.join() !== location.shape.join()) {
        throw new KpopError(
          "INVALID_CHECKPOINT",
          `${delta.path}: ${FOLDERS[component]}.${key} does not fit the base's tensor of that name`,
        );
      }
      tensors.set(key, { ...location, home: place.home ?? place });
    }
    applied[component] = { ...network, tensors };
  }
  return { ...source, ...applied };
}

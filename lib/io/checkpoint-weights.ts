import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { isPickleName, pickleRefused } from "./checkpoint-pickle";
import type { TensorLocation, WeightFile } from "./checkpoint-types";
import { isJsonObject, readJsonObject } from "../files/json-file";
import { readHeader } from "./safetensors-reader";
import { onDisk } from "../files/system-error";

/** A network's weights among the files of its folder. */
export interface ChosenWeights {
  /** The file, or the index of its shards. */
  readonly name: string;
  readonly sharded: boolean;
  /** Of a variant, such as "fp16"; else "". */
  readonly mark: string;
}

/** `STEM.safetensors`, its shards by `STEM.safetensors.index.json`, or, when neither is there, a variant such as
 *  `STEM.fp16.safetensors`; null where there is none.
 *  @param folder for messages
 *  @throws INVALID_CHECKPOINT on several variants that are all not fp16 */
export function chooseWeights(folder: string, names: readonly string[], stem: string): ChosenWeights | null {
  const plain = `${stem}.safetensors`;
  if (names.includes(plain)) return { name: plain, sharded: false, mark: "" };
  if (names.includes(`${plain}.index.json`)) return { name: `${plain}.index.json`, sharded: true, mark: "" };
  const variants = findVariants(names, stem);
  const variant = variants.length > 1 ? variants.find(({ mark }) => mark === "fp16") : variants[0];
  if (variant !== undefined || variants.length === 0) return variant ?? null;
  const list = variants.map(({ name }) => name).join(", ");
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `${folder} has several variants (${list}) and no ${plain}: keep one`,
  );
}

/** Finds a network's weights in its folder, by `chooseWeights`. Reads the headers only.
 *  @param folder absolute   @param stem "diffusion_pytorch_model" or "model"
 *  @throws INVALID_CHECKPOINT, INVALID_SAFETENSORS, UNSUPPORTED_FORMAT (pickle only), IO_ERROR */
export async function findWeights(folder: string, stem: string): Promise<WeightFile[]> {
  const names = await onDisk("read", folder, () => readdir(folder));
  const chosen = chooseWeights(folder, names, stem);
  if (chosen?.sharded === true) return await readShards(folder, chosen.name, chosen.mark);
  if (chosen !== null) return [await weightFile(folder, chosen.name, `${stem}.safetensors`)];
  const pickled = names.find(isPickleName);
  if (pickled !== undefined) throw pickleRefused(join(folder, pickled));
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `Expected the weights ${stem}.safetensors in ${folder}, but there are none`,
  );
}

/** The tensors of a weight file, as they lie there. */
export function locations(file: WeightFile): TensorLocation[] {
  return [...file.header.tensors].map(([key, { dtype, shape, offset, bytes }]) => {
    return { file: file.path, stamp: file.stamp, key, dtype, shape, storedShape: shape, offset, bytes };
  });
}

/** @param name the file's name in `folder`   @param saveAs its name in a saved folder */
export async function weightFile(folder: string, name: string, saveAs: string): Promise<WeightFile> {
  const path = join(folder, name);
  const { stamp, ...header } = await readHeader(path);
  return { path, name: saveAs, stamp, header };
}

function findVariants(names: readonly string[], stem: string): ChosenWeights[] {
  const single = new RegExp(`^${stem}\\.([\\w-]+)\\.safetensors$`);
  // diffusers has written the mark of a sharded variant in both places.
  const index = new RegExp(
    `^${stem}(?:\\.safetensors\\.index\\.([\\w-]+)|\\.([\\w-]+)\\.safetensors\\.index)\\.json$`,
  );
  const found: ChosenWeights[] = [];
  for (const name of names) {
    const mark = single.exec(name)?.[1];
    const match = index.exec(name);
    if (mark !== undefined && !/-\d+-of-\d+$/.test(mark)) found.push({ name, mark, sharded: false });
    if (match !== null) found.push({ name, mark: (match[1] ?? match[2])!, sharded: true });
  }
  return found;
}

async function readShards(folder: string, indexName: string, mark: string): Promise<WeightFile[]> {
  const path = join(folder, indexName);
  const { weight_map: map } = await readJsonObject(path);
  if (!isJsonObject(map)) throw new KpopError("INVALID_CHECKPOINT", `${path} has no weight_map`);
  const expected = new Map<string, Set<string>>();
  for (const [key, shard] of Object.entries(map)) {
    if (typeof shard !== "string" || !/^[^/\\\0]+\.safetensors$/.test(shard)) {
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${path} places ${JSON.stringify(key)} in ${JSON.stringify(shard)}; expected the name of a .safetensors file of the same folder`,
      );
    }
    expected.set(shard, (expected.get(shard) ?? new Set()).add(key));
  }
  const files: WeightFile[] = [];
  for (const [shard, keys] of [...expected].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const file = await weightFile(folder, shard, mark === "" ? shard : shard.replace(`.${mark}`, ""));
    checkShard(path, shard, keys, file);
    files.push(file);
  }
  return files;
}

function checkShard(index: string, shard: string, keys: ReadonlySet<string>, file: WeightFile): void {
  const held = file.header.tensors;
  const missing = [...keys].filter((key) => !held.has(key));
  const unexpected = [...held.keys()].filter((key) => !keys.has(key));
  if (missing.length === 0 && unexpected.length === 0) return;
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `${index} and ${shard} disagree: ${missing.length} tensors missing, ${unexpected.length} unexpected ` +
      `(${[...missing, ...unexpected].slice(0, 5).join(", ")})`,
  );
}

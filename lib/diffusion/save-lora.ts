import { resolve } from "node:path";
import { KpopError, throwIfAborted } from "../errors";
import { withChanges, type Stored } from "../io/checkpoint-changes";
import { checkFree, type SaveFileOptions } from "../io/checkpoint-save-single-file";
import { COMPONENTS, FOLDERS } from "../io/checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  Config,
  TensorData,
} from "../io/checkpoint-types";
import { loraPrefixes } from "../io/file-kinds";
import { ldmFamily } from "../io/ldm-keys";
import { writeSafetensors, type WriteEntry } from "../io/safetensors-writer";
import { checkApart } from "../io/source-places";
import { lowRank } from "../nn/low-rank";
import { scope } from "../runtime/scope";
import { Tensor, type Dtype } from "../runtime/tensor";

/** Rank of a LoRA's layers unless another is asked for. */
export const LORA_RANK = 32;

/** Keys of the UNet that tools know by the original code's name alone. */
const ORIGINAL: Readonly<Record<string, string>> = {
  "add_embedding.linear_1": "label_emb.0.0",
  "add_embedding.linear_2": "label_emb.0.2",
};

/** Kohya's name of a layer. @param prefix of its network   @param key of its weight */
export function loraModule(prefix: string, key: string): string {
  const layer = key.replace(/\.weight$/, "");
  return `${prefix}_${(ORIGINAL[layer] ?? layer).replaceAll(".", "_")}`;
}

/** What tools look at in a file whose layers all have the same rank and alpha. */
export function kohyaMetadata(rank: number): Record<string, string> {
  return {
    format: "pt",
    ss_network_module: "networks.lora",
    ss_network_dim: String(rank),
    ss_network_alpha: String(rank),
  };
}

/** What a LoRA of an erasure says of itself: the share of the squared change that it holds, and what it has no place for. */
export function changeMetadata(
  source: CheckpointSource,
  manifest: Config,
  kept = 1,
  leftOut: readonly string[] = [],
): Record<string, string> {
  return {
    ...versionOf(source),
    "kpop.format": "lora",
    "kpop.kept": String(kept),
    "kpop.left_out": JSON.stringify(leftOut),
    "kpop.manifest": JSON.stringify(manifest),
  };
}

/** How kohya's scripts name a base model. Tools hide a LoRA beside models of another family. */
function versionOf(source: CheckpointSource): Record<string, string> {
  const family = ldmFamily(source);
  if (family === "xl") return { ss_base_model_version: "sdxl_base_v1-0" };
  if (family === "sd1") return { ss_base_model_version: "sd_v1", ss_v2: "False" };
  const isOfV = source.scheduler["prediction_type"] === "v_prediction";
  return { ss_base_model_version: isOfV ? "sd_v2_v" : "sd_v2", ss_v2: "True" };
}

/** A changed weight of a linear layer or a convolution. */
interface Layer {
  component: ComponentName;
  key: string;
  tensor: TensorData;
}

/** A layer's change in its LoRA's form: squares of what is in it, and of the whole. */
interface Factors {
  entries: WriteEntry[];
  kept: number;
  total: number;
}

export interface SaveLoraOptions extends SaveFileOptions {
  /** Of every layer, or all that the layer has. */
  rank: number;
}

/**
 * Writes what changed as a LoRA (arXiv 2106.09685) under kohya's keys, to be loaded onto the base: the nearest matrix of
 * the rank to each layer's change, in float16. Every layer's alpha is the file's rank, also where a layer has fewer rows
 * than that and takes a smaller rank: tools that know one alpha for the whole file scale each layer rightly. Biases and
 * scales of norms, which a LoRA does not have, are left out: the metadata name those that changed (`kpop.left_out`), and
 * say which share of the whole squared change, theirs included, is in the file (`kpop.kept`).
 * @throws UNSUPPORTED_FORMAT when nothing that changed, or not all that matters, can be in a LoRA, and when the file that
 *   holds the weights before the change is no longer what was read; NUMERIC_FAILURE when a weight is not finite;
 *   OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NO_SPACE, IO_ERROR, ABORTED
 */
export async function saveLora(
  source: CheckpointSource,
  changed: ChangedTensors,
  path: string,
  manifest: Config,
  { rank, ...options }: SaveLoraOptions,
): Promise<void> {
  const target = resolve(path);
  await checkFree(target, options);
  await checkApart(source, target);
  const prefixes = loraPrefixes(source);
  const { layers, vectors } = sorted(changed, (component) => component in prefixes);
  await withChanges(source, changed, options, async (view) => {
    const original = ({ component, key }: Layer) => view.original(component, key);
    const sums: Factors = { entries: [], kept: 0, total: 0 };
    const leftOut: string[] = [];
    for (const vector of vectors) {
      throwIfAborted(options.signal);
      const total = await scope(async () => changeOf(vector, await original(vector)).then(squares));
      if (finiteChange(vector, total) === 0) continue;
      leftOut.push(nameOf(vector));
      sums.total += total;
    }
    for (const layer of layers) {
      throwIfAborted(options.signal);
      const { entries, kept, total } = await factors(
        layer,
        prefixes[layer.component]!,
        await original(layer),
        rank,
      );
      if (finiteChange(layer, total) === 0) continue;
      sums.entries.push(...entries);
      sums.kept += kept;
      sums.total += total;
    }
    if (sums.entries.length === 0) throw notLowRank([], "no layer of the networks differs from the base's");
    const metadata = new Map(
      Object.entries({
        ...kohyaMetadata(rank),
        ...changeMetadata(source, manifest, sums.kept / sums.total, leftOut),
      }),
    );
    await writeSafetensors(target, sums.entries, metadata, options);
  });
}

/** @throws NUMERIC_FAILURE */
function finiteChange(layer: Layer, squared: number): number {
  if (Number.isFinite(squared)) return squared;
  throw new KpopError(
    "NUMERIC_FAILURE",
    `The change of ${nameOf(layer)} is not finite, so no LoRA comes near it`,
  );
}

function nameOf({ component, key }: Layer): string {
  return `${FOLDERS[component]}.${key}`;
}

/** @throws UNSUPPORTED_FORMAT on a change that no LoRA holds and no bias is */
function sorted(
  changed: ChangedTensors,
  hasLora: (component: ComponentName) => boolean,
): { layers: Layer[]; vectors: Layer[] } {
  const all = COMPONENTS.flatMap((component) =>
    [...(changed[component] ?? [])].map(([key, tensor]): Layer => ({ component, key, tensor })),
  );
  const isLayer = ({ component, key, tensor }: Layer): boolean =>
    hasLora(component) &&
    key.endsWith(".weight") &&
    tensor.shape.length > 1 &&
    !key.includes("_embedding.weight");
  const isVector = ({ component, tensor }: Layer): boolean => hasLora(component) && tensor.shape.length === 1;
  const others = all.filter((layer) => !isLayer(layer) && !isVector(layer)).map(nameOf);
  if (others.length > 0) throw notLowRank(others, "a LoRA has no place for them");
  return { layers: all.filter(isLayer), vectors: all.filter(isVector) };
}

function notLowRank(names: readonly string[], why: string): KpopError {
  const first = names.slice(0, 5).join(", ");
  const count = `${names.length} changed tensor${names.length === 1 ? "" : "s"}`;
  const which = names.length === 0 ? "" : `${count} (${first}${names.length > 5 ? ", …" : ""}): `;
  return new KpopError(
    "UNSUPPORTED_FORMAT",
    `The change cannot be written as a LoRA: ${which}${why}; use the format "delta"`,
  );
}

/** A tensor's change, float64. */
async function changeOf({ tensor }: Layer, original: Stored): Promise<Tensor> {
  const after = tensorOf(tensor.shape, tensor.dtype, await tensor.bytes());
  return after.sub(tensorOf(tensor.shape, original.dtype, original.bytes));
}

function squares(tensor: Tensor): Promise<number> {
  return tensor.square().sum().item();
}

async function factors(layer: Layer, prefix: string, original: Stored, rank: number): Promise<Factors> {
  const { key, tensor } = layer;
  const [rows, ...rest] = tensor.shape as [number, ...number[]];
  const module = loraModule(prefix, key);
  return scope(async () => {
    const columns = rest.reduce((product, length) => product * length, 1);
    const change = (await changeOf(layer, original)).reshape([rows, columns]);
    const { up, down, kept, total } = await lowRank(change, rank);
    const r = up.shape[1]!;
    // Loaded, the product is scaled by alpha / r.
    const share = Math.sqrt(r / rank);
    const half = async (matrix: Tensor): Promise<Uint8Array> =>
      (await matrix.mul(share).to("float16").contiguous().bytes()).slice();
    const [upBytes, downBytes] = [await half(up), await half(down)];
    const alpha = new Uint8Array(new Float32Array([rank]).buffer);
    const entries: WriteEntry[] = [
      { name: `${module}.alpha`, dtype: "F32", shape: [], bytes: async () => alpha },
      { name: `${module}.lora_down.weight`, dtype: "F16", shape: [r, ...rest], bytes: async () => downBytes },
      {
        name: `${module}.lora_up.weight`,
        dtype: "F16",
        shape: [rows, r, ...rest.slice(1).map(() => 1)],
        bytes: async () => upBytes,
      },
    ];
    return { entries, kept, total };
  });
}

function tensorOf(shape: readonly number[], dtype: Dtype, bytes: Uint8Array): Tensor {
  const tensor = Tensor.empty(shape, dtype);
  tensor.hostBytes().set(bytes);
  return tensor.to("float64");
}

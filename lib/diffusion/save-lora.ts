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
import { LORA_PREFIXES } from "../io/file-kinds";
import { writeSafetensors, type WriteEntry } from "../io/safetensors-writer";
import { lowRank } from "../nn/low-rank";
import { scope } from "../runtime/scope";
import { Tensor, type Dtype } from "../runtime/tensor";

/** File that a folder's LoRA lies in. */
export const LORA_FILE = "lora.safetensors";
/** Rank of a LoRA's layers unless another is asked for. */
export const LORA_RANK = 32;

/** Kohya's name of a layer. @param key of its weight */
export function loraModule(component: ComponentName, key: string): string {
  return `${LORA_PREFIXES[component]}_${key.replace(/\.weight$/, "").replaceAll(".", "_")}`;
}

/** A changed weight of a linear layer or a convolution. */
interface Layer {
  component: ComponentName;
  key: string;
  tensor: TensorData;
}

/** Layers in their LoRA's form, and what of the change is in it. */
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
 * the rank to each layer's change, in float16. Biases and scales of norms, which a LoRA does not have, are left out: the
 * metadata name them (`kpop.left_out`), and say which share of the layers' squared change is in the file (`kpop.kept`).
 * @throws UNSUPPORTED_FORMAT when nothing that changed, or not all that matters, can be in a LoRA; NUMERIC_FAILURE when a
 *   weight is not finite; OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NO_SPACE, IO_ERROR, ABORTED
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
  const { layers, leftOut } = sorted(changed);
  await withChanges(source, changed, options.signal, async (view) => {
    const sums: Factors = { entries: [], kept: 0, total: 0 };
    for (const layer of layers) {
      throwIfAborted(options.signal);
      const { entries, kept, total } = await factors(
        layer,
        await view.original(layer.component, layer.key),
        rank,
      );
      if (total === 0) continue;
      if (!Number.isFinite(total))
        throw new KpopError(
          "NUMERIC_FAILURE",
          `The change of ${FOLDERS[layer.component]}.${layer.key} is not finite, so no LoRA comes near it`,
        );
      sums.entries.push(...entries);
      sums.kept += kept;
      sums.total += total;
    }
    if (sums.entries.length === 0) throw notLowRank([], "no layer of the networks differs from the base's");
    const metadata = new Map([
      ["format", "pt"],
      ["ss_network_module", "networks.lora"],
      ["ss_network_dim", String(rank)],
      ["ss_network_alpha", String(rank)],
      ["ss_base_model_version", "sd_v1"],
      ["kpop.format", "lora"],
      ["kpop.kept", String(sums.kept / sums.total)],
      ["kpop.left_out", JSON.stringify(leftOut)],
      ["kpop.manifest", JSON.stringify(manifest)],
    ]);
    await writeSafetensors(target, sums.entries, metadata, options);
  });
}

/** @throws UNSUPPORTED_FORMAT on a change that no LoRA holds and no bias is */
function sorted(changed: ChangedTensors): { layers: Layer[]; leftOut: string[] } {
  const all = COMPONENTS.flatMap((component) =>
    [...(changed[component] ?? [])].map(([key, tensor]): Layer => ({ component, key, tensor })),
  );
  const name = ({ component, key }: Layer): string => `${FOLDERS[component]}.${key}`;
  const isLayer = ({ component, key, tensor }: Layer): boolean =>
    component in LORA_PREFIXES &&
    key.endsWith(".weight") &&
    tensor.shape.length > 1 &&
    !key.includes("_embedding.weight");
  const isVector = ({ component, tensor }: Layer): boolean =>
    component in LORA_PREFIXES && tensor.shape.length === 1;
  const others = all.filter((layer) => !isLayer(layer) && !isVector(layer)).map(name);
  if (others.length > 0) throw notLowRank(others, "a LoRA has no place for them");
  return { layers: all.filter(isLayer), leftOut: all.filter(isVector).map(name) };
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

async function factors({ component, key, tensor }: Layer, original: Stored, rank: number): Promise<Factors> {
  const [rows, ...rest] = tensor.shape as [number, ...number[]];
  const module = loraModule(component, key);
  return scope(async () => {
    const after = tensorOf(tensor.shape, tensor.dtype, await tensor.bytes());
    const before = tensorOf(tensor.shape, original.dtype, original.bytes);
    const change = after.sub(before).reshape([rows, rest.reduce((product, length) => product * length, 1)]);
    const { up, down, kept, total } = await lowRank(change, rank);
    const r = up.shape[1]!;
    const half = async (matrix: Tensor): Promise<Uint8Array> =>
      (await matrix.to("float16").contiguous().bytes()).slice();
    const [upBytes, downBytes] = [await half(up), await half(down)];
    const alpha = new Uint8Array(new Float32Array([r]).buffer);
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

import { compareShapes } from "../io/checkpoint-shapes";
import { localPath } from "../io/local-path";
import * as safetensors from "../io/safetensors";
import type { SafetensorsFile } from "../io/safetensors";
import type { Module } from "../models/module";
import { KpopError, throwIfAborted } from "../errors";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

const FLOATS = ["float64", "float16", "bfloat16"];

/** Where a network goes, and what may be in its file without being needed. */
export interface LoadNetworkOptions {
  /** Default "cpu". */
  device?: string;
  ignore?: readonly RegExp[];
  signal?: AbortSignal;
}

/**
 * Fills a network from a safetensors file, in float32.
 * @param given its path, or its name on a hub
 * @throws INVALID_CHECKPOINT when the file is another network's; NOT_FOUND, INVALID_SAFETENSORS, UNSUPPORTED_FORMAT,
 *   IO_ERROR, ABORTED
 */
export async function loadNetwork(
  network: Module<object>,
  given: string,
  options: LoadNetworkOptions = {},
): Promise<void> {
  const path = await localPath(given, { signal: options.signal });
  const file = await safetensors.open(path);
  try {
    const shapes = new Map([...file.shapes].map(([name, shape]) => [name, { shape }]));
    compareShapes(network.parameterShapes(), shapes, options.ignore ?? [], path);
    const tensors = new Map<string, Tensor>();
    for (const name of network.parameterNames()) {
      throwIfAborted(options.signal);
      tensors.set(name, await read(file, name, options.device ?? "cpu"));
    }
    await network.assign(tensors);
    await network.useFastestLayout();
  } catch (error) {
    network.dispose();
    throw error;
  } finally {
    await file.close();
  }
}

/**
 * `loadNetwork`, with word of how the files of metrics are made where one does not fit.
 * @throws as `loadNetwork` does
 */
export async function loadMetricNetwork(
  metric: string,
  network: Module<object>,
  path: string,
  options: LoadNetworkOptions,
): Promise<void> {
  await loadNetwork(network, path, options).catch((cause: unknown) => {
    if (!(cause instanceof KpopError) || cause.code !== "INVALID_CHECKPOINT") throw cause;
    const advice = `docs/measures.md says how the file of ${metric}.weights is made`;
    throw new KpopError("INVALID_CHECKPOINT", `${cause.message}; ${advice}`, { cause });
  });
}

function read(file: SafetensorsFile, name: string, device: string): Promise<Tensor> {
  return unscoped(() =>
    scope(async () => {
      const stored = await file.read(name);
      const dtype = FLOATS.includes(stored.dtype) ? "float32" : stored.dtype;
      return stored.to({ dtype, device }).settled();
    }),
  );
}

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { onDisk } from "../files/system-error";
import { isTextEncoder } from "../io/checkpoint-folder-files";
import { forcesZeros, networksOf } from "../io/checkpoint-types";
import { contentHash } from "../io/content-hash";
import { Image } from "../io/image";
import type { Complete, Option, OptionSet } from "../options/option";
import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { VERSION } from "../version";
import { hashChanges, hashInputs, interventionsIdentity } from "./model-hash";
import type { Model } from "./model";

/**
 * All that a model's results depend on: weights as they are in memory, configurations, interventions, place and
 * versions, as JSON holds it.
 * @throws NOT_FOUND, IO_ERROR, ABORTED
 */
export async function modelIdentity(model: Model, signal?: AbortSignal): Promise<Record<string, unknown>> {
  const { source, interventions } = model;
  return {
    ...placeOf(model),
    weights: Object.values(await hashInputs(model, signal)),
    changes: await hashChanges(model),
    configs: digest([
      ...networksOf(source).map(([name]) => model[name]!.config),
      source.scheduler,
      forcesZeros(source),
    ]),
    interventions: await interventionsIdentity(interventions),
  };
}

/**
 * All that the encodings of token ids depend on: the text encoders alone, which are a fraction of a model's bytes.
 * @throws NOT_FOUND, IO_ERROR, ABORTED
 */
export async function textIdentity(model: Model, signal?: AbortSignal): Promise<Record<string, unknown>> {
  const encoders = networksOf(model.source).filter(([name]) => isTextEncoder(name));
  const cancel = signal === undefined ? {} : { signal };
  const weights: string[] = [];
  for (const [, network] of encoders) weights.push(await contentHash(network, cancel));
  const names = encoders.map(([name]) => name);
  return {
    ...placeOf(model),
    weights,
    changes: await hashChanges(model, names),
    configs: digest(names.map((name) => model[name]!.config)),
  };
}

function placeOf({ device, dtype }: Model): Record<string, unknown> {
  return {
    versions: { "kpop-native": VERSION, libtorch: addon().builtForTorch },
    // Which of a machine's GPUs it is decides nothing, and shards each have their own.
    device: device.replace(/:\d+$/, ""),
    dtype,
  };
}

/** A set of options by their contents: tensors and pictures are hashed, files read. @throws NOT_FOUND, IO_ERROR */
export async function optionsIdentity<S extends OptionSet>(
  options: S,
  values: Complete<S>,
): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values as Record<string, unknown>))
    found[key] = isPath(options[key], value) ? await filesIdentity(value) : await contentOf(value);
  return found;
}

function isPath(option: Option | undefined, value: unknown): boolean {
  return option?.files === true || (option?.files === "alone" && typeof value === "string");
}

/** A value as JSON that differs wherever contents do. */
export async function contentOf(value: unknown): Promise<unknown> {
  if (value instanceof Tensor)
    return { shape: value.shape, dtype: value.dtype, sha256: sha256(await value.bytes()) };
  if (value instanceof Image) return { width: value.width, height: value.height, sha256: sha256(value.data) };
  if (typeof value === "function") return `function ${value.toString()}`;
  if (value instanceof RegExp) return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value !== "object" || value === null) return value;
  if (Symbol.asyncIterator in value) return "custom";
  if (Array.isArray(value)) return Promise.all(value.map((item: unknown) => contentOf(item)));
  const entries = Object.entries(value).map(async ([key, item]) => [key, await contentOf(item)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

/** As `contentOf`, where texts are paths of files. */
async function filesIdentity(value: unknown): Promise<unknown> {
  if (typeof value === "string") return sha256(await onDisk("read", value, () => readFile(value)));
  if (Array.isArray(value)) return Promise.all(value.map((item: unknown) => filesIdentity(item)));
  if (typeof value !== "object" || value === null || value instanceof Image) return contentOf(value);
  const entries = Object.entries(value).map(async ([key, item]) => [key, await filesIdentity(item)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

/** 32 hexadecimal digits of SHA-256 over a value's JSON. */
export function digest(value: unknown): string {
  return sha256(JSON.stringify(value)).slice(0, 32);
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { finite, invalid, jobOptions, knownKeys, nonEmptyString } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { LORA_FILE, loraPrefixes } from "../io/file-kinds";
import { unetKeyMap } from "../io/ldm-keys";
import { localPath } from "../io/local-path";
import * as safetensors from "../io/safetensors";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { loraModule } from "./save-lora";
import { StableDiffusion, type DerivedNetwork } from "./stable-diffusion";

/** Options of `applyLora`. */
export interface ApplyLoraOptions {
  /** What the change is multiplied by. Default 1. */
  strength?: number;
  signal?: AbortSignal;
}

/** A network's weight that a file has a change of. */
interface Place {
  component: DerivedNetwork;
  key: string;
}

const PARTS = ["lora_up.weight", "lora_down.weight", "alpha"] as const;

/**
 * A model with a LoRA (arXiv 2106.09685) in its weights: W + strength · alpha / rank · up down, in float32. It shares all
 * other weights with the one given, which stays as it is.
 * @param given a .safetensors file under kohya's keys, as `save` with the format "lora" and kohya's scripts write them, or
 *   the folder that it was saved into, or either's name on a hub
 * @throws INVALID_ARGUMENT; NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR; UNSUPPORTED_FORMAT on what is no LoRA under these
 *   keys; INVALID_CHECKPOINT when it does not fit the model; NUMERIC_FAILURE when it is not finite; ABORTED
 */
export async function applyLora(
  model: StableDiffusion,
  given: string,
  options: ApplyLoraOptions = {},
): Promise<StableDiffusion> {
  if (!(model instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion", model);
  nonEmptyString("path", given);
  knownKeys("the apply options", options, ["strength", "signal"]);
  jobOptions(options);
  const strength = finite("strength", options.strength ?? 1);
  model.unet.throwIfDisposed();
  const path = await localPath(given, { signal: options.signal });
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  await using file = await safetensors.open(isFolder ? join(path, LORA_FILE) : path);
  const places = placesOf(file, model);
  return await unscoped(async () => {
    const edited = await copyOf(model, [...places.values()]);
    try {
      for (const [module, { component, key }] of places) {
        throwIfAborted(options.signal);
        await add(file, module, edited[component]!.parameter(key), strength);
      }
      return edited;
    } catch (error) {
      edited.dispose();
      throw error;
    }
  });
}

/** Where each of the file's modules belongs. @throws UNSUPPORTED_FORMAT, INVALID_CHECKPOINT */
function placesOf(file: safetensors.SafetensorsFile, model: StableDiffusion): Map<string, Place> {
  const known = new Map<string, Place>();
  const original = unetKeyMap(model.source.unet.config);
  for (const [component, prefix] of Object.entries(loraPrefixes(model)) as [DerivedNetwork, string][])
    for (const key of model[component]!.parameterNames()) {
      if (!key.endsWith(".weight")) continue;
      const place = { component, key };
      known.set(loraModule(prefix, key), place);
      // The scripts' own names for XL are those of the original code.
      const there = component === "unet" ? original.toThere(key) : null;
      if (there !== null) known.set(loraModule(prefix, there), place);
    }
  const found = new Map<string, Place>();
  const foreign: string[] = [];
  const unknown = new Set<string>();
  for (const name of file.names) {
    const module = name.slice(0, name.indexOf("."));
    const place = known.get(module);
    if (!PARTS.includes(name.slice(module.length + 1) as (typeof PARTS)[number])) foreign.push(name);
    else if (place === undefined) unknown.add(module);
    else found.set(module, place);
  }
  if (foreign.length > 0 || file.names.length === 0)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${file.path} is no LoRA under kohya's keys (NAME.lora_up.weight, NAME.lora_down.weight, NAME.alpha)${listed(foreign, "other tensor")}`,
    );
  if (unknown.size > 0)
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `${file.path} is a LoRA for another model${listed([...unknown], "layer that this one lacks", "layers that this one lacks")}`,
    );
  return found;
}

function listed(names: readonly string[], noun: string, nouns = `${noun}s`): string {
  if (names.length === 0) return "";
  const first = names.slice(0, 5).join(", ");
  return `: it has ${names.length} ${names.length === 1 ? noun : nouns} (${first}${names.length > 5 ? ", …" : ""})`;
}

async function copyOf(model: StableDiffusion, places: readonly Place[]): Promise<StableDiffusion> {
  const keys = (network: DerivedNetwork): Set<string> =>
    new Set(places.filter(({ component }) => component === network).map(({ key }) => key));
  let copy = await model.derive(keys("unet"), "float32");
  for (const network of ["textEncoder", "textEncoder2"] as const) {
    const before = copy;
    try {
      copy = await before.derive(keys(network), "float32", network);
    } finally {
      before.dispose();
    }
  }
  return copy;
}

async function add(
  file: safetensors.SafetensorsFile,
  module: string,
  weight: Tensor,
  strength: number,
): Promise<void> {
  const [rows, ...rest] = weight.shape as [number, ...number[]];
  const columns = rest.reduce((product, length) => product * length, 1);
  const [up, down, alpha] = PARTS.map((part) => `${module}.${part}`) as [string, string, string];
  const rank = file.shapes.get(down)?.[0] ?? 0;
  const elements = (name: string): number =>
    (file.shapes.get(name) ?? [0]).reduce((product, length) => product * length, 1);
  const fits =
    rank > 0 &&
    file.shapes.get(up)?.[0] === rows &&
    elements(up) === rows * rank &&
    elements(down) === rank * columns &&
    (!file.shapes.has(alpha) || elements(alpha) === 1);
  if (!fits)
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `${file.path}: Expected ${module} to have factors of (${rows}, r) and (r, ${columns}) elements but it has ${shape(file, up)} and ${shape(file, down)}`,
    );
  await scope(() =>
    noGrad(async () => {
      const wide = async (name: string): Promise<Tensor> => (await file.read(name)).to("float32");
      const scale = file.shapes.has(alpha) ? (await (await wide(alpha)).reshape([1]).item()) / rank : 1;
      const product = (await wide(up))
        .reshape([rows, rank])
        .matmul((await wide(down)).reshape([rank, columns]));
      const change = product.mul(strength * scale).reshape(weight.shape);
      if (!Number.isFinite(await change.square().sum().item()))
        throw new KpopError("NUMERIC_FAILURE", `${file.path}: the change of ${module} is not finite`);
      await weight.copyFrom(weight.add(change.to({ device: weight.device })));
    }),
  );
}

function shape({ shapes }: safetensors.SafetensorsFile, name: string): string {
  const found = shapes.get(name);
  return found === undefined ? "none" : `(${found.join(", ")})`;
}

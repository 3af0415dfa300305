import { createHash } from "node:crypto";
import { changedTensors } from "../diffusion/save-model";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { weightFiles } from "../io/checkpoint-types";
import { sha256File } from "../io/sha256-file";
import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { VERSION } from "../version";

/** How a model was made; saved as kpop-run.json beside its weights. */
export interface RunManifest {
  method: string;
  reference: string;
  concepts: string[];
  preserve: string[];
  /** Every option of the method after defaults; functions, patterns and tensors as short texts. */
  options: Record<string, unknown>;
  seed: number;
  versions: { "kpop-native": string; libtorch: string; node: string };
  device: string;
  dtype: string;
  threads: number;
  /** SHA-256 of each weight file of the input, by its place in the checkpoint. */
  inputs: Record<string, string>;
  /** SHA-256 of each weight file that was saved; empty until then. */
  outputs: Record<string, string>;
  /** Seconds of the run itself, interruptions left out. */
  seconds: number;
  /** UNet evaluations spent: forward passes, one for each item of a batch. */
  unetEvaluations: number;
  iterations: number;
  /** Keys of the UNet's parameters that the method may have changed. */
  changedParameters: number;
  finishedAt: string;
}

/** SHA-256 of every weight file of a model's source, by path within it. */
export async function hashInputs(
  model: StableDiffusion,
  signal?: AbortSignal,
): Promise<Record<string, string>> {
  const { source } = model;
  const entries: [string, string][] = [];
  for (const { path } of weightFiles(source)) {
    const name = path.startsWith(`${source.path}/`)
      ? path.slice(source.path.length + 1)
      : path.split("/").at(-1)!;
    entries.push([name, await sha256File(path, signal === undefined ? {} : { signal })]);
  }
  return Object.fromEntries(entries);
}

/** What in-memory weights differ from the source's by: SHA-256 over the changed ones; null where there are none. */
export async function hashChanges(model: StableDiffusion): Promise<string | null> {
  const hash = createHash("sha256");
  let any = false;
  for (const [component, tensors] of Object.entries(changedTensors(model))) {
    for (const [name, tensor] of tensors) {
      any = true;
      hash.update(`${component} ${name} ${tensor.dtype}\n`).update(await tensor.bytes());
    }
  }
  return any ? hash.digest("hex") : null;
}

/** Options as JSON: what JSON has no word for becomes a text that says what it was. */
export function describeOptions(options: object): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(options, (_key, value: unknown) => {
      if (value instanceof Tensor) return `tensor (${value.shape.join(", ")})`;
      if (typeof value === "function") return `function ${value.toString()}`;
      if (value instanceof RegExp) return String(value);
      if (typeof value === "object" && value !== null && Symbol.asyncIterator in value) return "custom";
      return value;
    }),
  ) as Record<string, unknown>;
}

/** What a saved state is bound to: the inputs and every option that the result depends on. */
export function fingerprint(parts: object): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

export function versions(): RunManifest["versions"] {
  return { "kpop-native": VERSION, libtorch: addon().builtForTorch, node: process.versions.node };
}

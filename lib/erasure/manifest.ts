import { createHash } from "node:crypto";
import { isJsonObject } from "../files/json-file";
import { Image } from "../io/image";
import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import type { StepReport } from "../training/step-report";
import { VERSION } from "../version";

/** How a model was made; saved as kpop-run.json beside its weights. */
export interface RunManifest {
  method: string;
  reference: string;
  concepts: string[];
  preserve: string[];
  /** Words that were held beside them. */
  neighbours: string[];
  /** Every option of the method after defaults; functions, patterns and tensors as short texts. */
  options: Record<string, unknown>;
  seed: number;
  versions: { "kpop-native": string; libtorch: string; node: string };
  device: string;
  dtype: string;
  threads: number;
  /** Where the input came from, if it lies in the cache of a hub. */
  hub?: { repository: string; revision: string };
  /**
   * Runs before this one on the same files, the first first, where it began with their result in memory. Of a result that was
   * saved and loaded, the files are the input.
   */
  before?: RunManifest[];
  /** SHA-256 of each weight file of the input, by its place in the checkpoint. */
  inputs: Record<string, string>;
  /** SHA-256 of each weight file that was saved; empty until then. */
  outputs: Record<string, string>;
  /** Seconds of the run itself, interruptions left out. */
  seconds: number;
  /** UNet evaluations spent: forward passes, one for each item of a batch. */
  unetEvaluations: number;
  iterations: number;
  /** How many parameters the method may have changed. */
  changedParameters: number;
  finishedAt: string;
}

/** Whether what a file has under `before` are runs, as far as they are told of; true also where it has nothing. */
export function areEarlierRuns(before: unknown): boolean {
  const isText = (value: unknown): boolean => typeof value === "string";
  const isRun = (run: unknown): boolean =>
    isJsonObject(run) &&
    isText(run["method"]) &&
    Array.isArray(run["concepts"]) &&
    run["concepts"].every(isText) &&
    Number.isSafeInteger(run["seed"]);
  return before === undefined || (Array.isArray(before) && before.every(isRun));
}

/** Whether a file's content is a manifest, as far as a model card reads it. */
export function isRunManifest(content: Readonly<Record<string, unknown>>): boolean {
  const { method, concepts, before } = content;
  return typeof method === "string" && Array.isArray(concepts) && areEarlierRuns(before);
}

/** What a run told on its way, and the command that it is the work of; saved as kpop-log.json beside the manifest. */
export interface RunLog {
  command: string | null;
  /** What it was trained by, one entry a step; empty where it was not. */
  steps: Pick<StepReport, "iteration" | "seconds" | "losses">[];
}

/** A run's log as a file. */
export function formatLog(command: string | undefined, history: readonly StepReport[]): string {
  const steps = history.map(({ iteration, seconds, losses }) => ({ iteration, seconds, losses }));
  return `${JSON.stringify({ command: command ?? null, steps } satisfies RunLog)}\n`;
}

/** Options as JSON: what JSON has no word for becomes a text that says what it was. */
export function describeOptions(options: object): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(options, (_key, value: unknown) => {
      if (value instanceof Image) return `picture ${value.width} × ${value.height} ${sha256(value.data)}`;
      if (value instanceof Tensor) return `tensor (${value.shape.join(", ")})`;
      if (typeof value === "function") return `function ${value.toString()}`;
      if (value instanceof RegExp) return String(value);
      if (typeof value === "object" && value !== null && Symbol.asyncIterator in value) return "custom";
      return value;
    }),
  ) as Record<string, unknown>;
}

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** What a run was made by. */
export function versions(): RunManifest["versions"] {
  return { "kpop-native": VERSION, libtorch: addon().builtForTorch, node: process.versions.node };
}

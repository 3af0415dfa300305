import { readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { filePath, invalid, knownKeys } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { readDelta } from "./checkpoint-delta";
import { isPickleName, pickleRefused, startsAsPickle } from "./checkpoint-pickle";
import { readCheckpoint } from "./checkpoint-read";
import { toldOf } from "./checkpoint-single-file";
import { COMPONENTS, networksOf, weightFiles } from "./checkpoint-types";
import type { CheckpointSource, ComponentName } from "./checkpoint-types";
import { KEY_FORMAT, LORA_PREFIXES, MANIFEST_FILE, RUN_STATE_FILE, RUN_STATE_FORMAT } from "./file-kinds";
import type {
  FileSummary,
  Inspection,
  KeyInspection,
  LoraInspection,
  ModelInspection,
  RunStateInspection,
  TensorSummary,
} from "./inspection";
import { isJsonObject, parseJsonObject, readJsonObject } from "../files/json-file";
import { localPath } from "./local-path";
import { modelPath } from "./model-path";
import { readHeader } from "./safetensors-reader";
import { sha256File } from "../files/sha256-file";
import { onDisk } from "../files/system-error";

/** Options of `inspect`. */
export interface InspectOptions {
  /** SHA-256 of every weight file, which reads them whole. Default false. */
  hash?: boolean;
  /** What the network predicts, where a single file does not say: needed of Stable Diffusion 2's. */
  prediction?: "epsilon" | "v";
  signal?: AbortSignal;
}

type Header = Awaited<ReturnType<typeof readHeader>>;

/**
 * Tells what a path holds: a checkpoint, a prompt key, a delta, a LoRA, a run's manifest or saved state, or some other
 * safetensors file. Reads configs and headers only, and needs no libtorch.
 * @param path also "pocket", the built-in model, and a name on a hub, which is downloaded for it
 * @throws INVALID_ARGUMENT, also where a prediction is told of what is no checkpoint, or says another one itself; NOT_FOUND;
 *   UNSUPPORTED_FORMAT (pickled weights, and files of no kind it knows); UNSUPPORTED_MODEL (a folder of
 *   another family); INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR, ABORTED
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  filePath("path", path);
  knownKeys("the inspect options", options, ["hash", "prediction", "signal"]);
  throwIfAborted(options.signal);
  const told = toldOf(options);
  const absolute = resolve(modelPath(await localPath(path, { signal: options.signal })));
  const found = await inspectAt(absolute, { ...options, ...told });
  if (told.prediction !== undefined && found.kind !== "model")
    throw invalid(
      "prediction",
      `left out, as ${absolute} is ${KINDS[found.kind]} and no checkpoint,`,
      told.prediction,
    );
  return found;
}

const KINDS: Readonly<Record<Exclude<Inspection["kind"], "model">, string>> = {
  "run-folder": "the folder of a run",
  "run-manifest": "a run's manifest",
  "run-state": "a run's saved state",
  delta: "a delta",
  lora: "a LoRA",
  key: "a key",
  safetensors: "some other safetensors file",
};

async function inspectAt(absolute: string, options: InspectOptions): Promise<Inspection> {
  const found = await onDisk("read", absolute, () => stat(absolute));
  if (found.isDirectory()) return await inspectFolder(absolute, options);
  if (absolute.endsWith(".json")) return await inspectManifest(absolute);
  if (isPickleName(absolute) || (found.isFile() && (await startsAsPickle(absolute))))
    throw pickleRefused(absolute);
  return await inspectFile(absolute, options);
}

async function inspectFolder(path: string, options: InspectOptions): Promise<Inspection> {
  const names = await onDisk("read", path, () => readdir(path));
  const run = names.includes(MANIFEST_FILE) ? await readJsonObject(join(path, MANIFEST_FILE)) : undefined;
  const ours = run !== undefined || names.includes(RUN_STATE_FILE);
  if (names.includes("model_index.json") || !ours) {
    const model = await inspectModel(await readCheckpoint(path, toldOf(options)), options);
    return { ...model, ...(run === undefined ? {} : { run }) };
  }
  const contents: Inspection[] = [];
  for (const name of names.sort())
    if (name.endsWith(".safetensors")) contents.push(await inspectFile(join(path, name), options));
  return { kind: "run-folder", path, ...(run === undefined ? {} : { run }), contents };
}

async function inspectModel(source: CheckpointSource, options: InspectOptions) {
  const { path, format, scheduler } = source;
  const files: FileSummary[] = [];
  for (const file of weightFiles(source))
    files.push(await summarizeFile(file.path, file.stamp.size, options));
  const components = Object.fromEntries(
    networksOf(source).map(([name, { tensors, config }]) => [
      name,
      { ...summarize(tensors.values()), config },
    ]),
  ) as ModelInspection["components"];
  const interventions = (source.interventions ?? []).map(({ tensors, ...record }) =>
    tensors === undefined ? record : { ...record, ...summarize(tensors.values()) },
  );
  const steered = interventions.length === 0 ? {} : { interventions };
  return { kind: "model" as const, path, format, components, scheduler, ...steered, files };
}

async function inspectManifest(path: string): Promise<Inspection> {
  const run = await readJsonObject(path);
  if (typeof run["method"] === "string" && Array.isArray(run["concepts"]))
    return { kind: "run-manifest", path, run };
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `${path} is no run manifest; to inspect a checkpoint, give its folder or its .safetensors file`,
  );
}

async function inspectFile(path: string, options: InspectOptions): Promise<Inspection> {
  const header = await readWeights(path);
  const files = [await summarizeFile(path, header.stamp.size, options)];
  const format = header.metadata.get("format");
  if (format === KEY_FORMAT) return { ...describeKey(path, header), files };
  if (format === RUN_STATE_FORMAT) return { ...describeState(path, header), files };
  if (header.metadata.get("kpop.format") === "delta") {
    const { base, manifest, tensors } = await readDelta(path);
    const changed = Object.fromEntries(
      COMPONENTS.filter((name) => base[name] !== undefined).map((name) => [name, tensors[name].size]),
    );
    const all = summarize(header.tensors.values());
    return { kind: "delta", path, ...all, base, changed, run: manifest, files };
  }
  const lora = describeLora(path, header);
  if (lora !== null) return { ...lora, files };
  const source = await readCheckpoint(path, toldOf(options)).catch((error: unknown) => {
    // Whoever says what it predicts holds it to be a checkpoint.
    if (error instanceof KpopError && options.prediction === undefined) return error;
    throw error;
  });
  if (!(source instanceof KpopError)) return { ...(await inspectModel(source, {})), files };
  return {
    kind: "safetensors",
    path,
    ...summarize(header.tensors.values()),
    metadata: Object.fromEntries(header.metadata),
    entries: Object.fromEntries(
      [...header.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape: [...shape] }]),
    ),
    note: source.message,
    files,
  };
}

/** The header of a weight file; a file of another name that is none is named as such, not as a broken one. */
async function readWeights(path: string): Promise<Header> {
  try {
    return await readHeader(path);
  } catch (error) {
    if (
      !(error instanceof KpopError) ||
      error.code !== "INVALID_SAFETENSORS" ||
      path.endsWith(".safetensors")
    )
      throw error;
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is nothing that can be inspected; expected a diffusers folder, a .safetensors file (checkpoint, key, delta, saved state) or ${MANIFEST_FILE}`,
      { cause: error },
    );
  }
}

function describeKey(path: string, { metadata }: Header): Omit<KeyInspection, "files"> {
  if (metadata.has("encryption")) return { kind: "key", path, encrypted: true };
  const key = parseJsonObject(metadata.get("key") ?? "", `the key in ${basename(path)}`);
  // As for `PromptKey`, form and place may be left out.
  const fields = { form: "free", place: "cross-attention", ...key } as unknown as Required<KeyInspection>;
  const { concepts, form, place, mechanism, layers, shape, model } = fields;
  const named = typeof layers === "string" || Array.isArray(layers);
  const worded = [form, place, mechanism].every((word) => typeof word === "string");
  if (!Array.isArray(concepts) || !Array.isArray(shape) || !worded || !named)
    throw new KpopError("INVALID_KEY", `${path} is a damaged prompt key`);
  return {
    kind: "key",
    path,
    encrypted: false,
    concepts,
    form,
    place,
    ...(place === "token" ? {} : { mechanism, layers }),
    shape,
    ...(form === "amortised" ? { hidden: shape[0]! / 2 } : {}),
    ...(typeof model === "string" ? { model } : {}),
  };
}

/** Null when it is none. */
function describeLora(path: string, { metadata, tensors }: Header): Omit<LoraInspection, "files"> | null {
  const downs = [...tensors].filter(([name]) => name.endsWith(".lora_down.weight"));
  if (downs.length === 0) return null;
  const layers: LoraInspection["layers"] = {};
  const prefixes = Object.values(LORA_PREFIXES).flatMap((each) => Object.entries(each));
  for (const [component, prefix] of prefixes as [ComponentName, string][]) {
    const count = downs.filter(([name]) => name.startsWith(`${prefix}_`)).length;
    if (count > 0) layers[component] = count;
  }
  const ranks = downs.map(([, { shape }]) => shape[0] ?? 0);
  const [smallest, largest] = [Math.min(...ranks), Math.max(...ranks)];
  const all = { kind: "lora" as const, path, ...summarize(tensors.values()), layers };
  if (metadata.get("kpop.format") !== "lora") return { ...all, ranks: [smallest, largest] };
  const run = parseJsonObject(metadata.get("kpop.manifest") ?? "{}", `kpop.manifest in ${path}`);
  const { leftOut } = parseJsonObject(
    `{"leftOut": ${metadata.get("kpop.left_out") ?? "[]"}}`,
    `kpop.left_out in ${path}`,
  );
  return {
    ...all,
    ranks: [smallest, largest],
    kept: Number(metadata.get("kpop.kept")),
    leftOut: Array.isArray(leftOut) ? leftOut.map(String) : [],
    ...(Object.keys(run).length === 0 ? {} : { run }),
  };
}

function describeState(path: string, { metadata, tensors }: Header): Omit<RunStateInspection, "files"> {
  const progress = parseJsonObject(metadata.get("progress") ?? "", `the progress in ${basename(path)}`);
  const { iteration, seconds, history } = progress;
  if (typeof iteration !== "number" || typeof seconds !== "number")
    throw new KpopError("INVALID_CHECKPOINT", `${path} is a damaged state of a run`);
  const last: unknown = Array.isArray(history) ? history.at(-1) : undefined;
  const { iterations, losses } = isJsonObject(last) ? last : {};
  return {
    kind: "run-state",
    path,
    ...summarize(tensors.values()),
    iteration,
    ...(typeof iterations === "number" ? { iterations } : {}),
    ...(isLosses(losses) ? { losses } : {}),
    seconds,
  };
}

function isLosses(value: unknown): value is Record<string, number> {
  return isJsonObject(value) && Object.values(value).every((loss) => typeof loss === "number");
}

function summarize(tensors: Iterable<{ dtype: string; shape: readonly number[] }>): TensorSummary {
  const summary: TensorSummary = { tensors: 0, elements: 0, dtypes: {} };
  for (const { dtype, shape } of tensors) {
    const elements = shape.reduce((product, size) => product * size, 1);
    summary.tensors += 1;
    summary.elements += elements;
    summary.dtypes[dtype] = (summary.dtypes[dtype] ?? 0) + elements;
  }
  return summary;
}

async function summarizeFile(path: string, bytes: number, options: InspectOptions): Promise<FileSummary> {
  if (options.hash !== true) return { path, bytes };
  const cancel = options.signal === undefined ? {} : { signal: options.signal };
  return { path, bytes, sha256: await sha256File(path, cancel) };
}

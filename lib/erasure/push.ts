import { readdir, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { filePath, flag, invalid, jobOptions, knownKeys, nonEmptyString } from "../check";
import { KpopError } from "../errors";
import { readJsonObject } from "../files/json-file";
import { onDisk } from "../files/system-error";
import { formatHubName, parseHubName } from "../hub/hub-name";
import { upload, type UploadFile } from "../hub/upload";
import { readDelta } from "../io/checkpoint-delta";
import { DELTA_FILE, LORA_FILE, LOG_FILE, MANIFEST_FILE } from "../io/file-kinds";
import { foreignFiles, isDocument } from "../io/saved-model";
import { isRunManifest, type RunManifest } from "./manifest";
import { MODEL_CARD_FILE, modelCard, type CardDetails } from "./model-card";

/** How far an upload is. */
export interface PushProgress {
  file: string;
  phase: "hashing" | "uploading";
  /** Large files that have arrived, and all files. */
  files: number;
  totalFiles: number;
}

/** How a model is published. */
export interface PushOptions {
  /** Whether a repository that is made for it can be seen by all. Default false. One that is there stays as it is. */
  public?: boolean;
  /** First line of the commit. Default "Upload NAME". */
  message?: string;
  /** The base's name on the hub, USER/MODEL, for the model card. Default: known where the base came from the hub. */
  baseModel?: string;
  /** The hub's name of the licence, for the model card. Default: none is named. */
  license?: string;
  signal?: AbortSignal;
  onProgress?(progress: PushProgress): void;
}

/** What was published. */
export interface Pushed {
  /** "hf:user/name", as loading takes it. */
  name: string;
  commit: string;
  /** The commit's page. */
  url: string;
  /** Paths in the repository. */
  files: string[];
}

interface Contents {
  files: readonly UploadFile[];
  /** How the weights came to be; null where no run made them. */
  run: RunManifest | null;
  change: CardDetails["change"];
}

/**
 * Publishes a saved model on the hub: a folder that an erasure or a model was saved into, or the file of a delta, with a
 * model card (README.md), which is written from the run's manifest where there is none. The files appear together, in one
 * commit; what stands in the repository beside them stays. A key is never published: it is no part of a saved model.
 * @param name "hf:user/name", then "@branch" and "/folder" where wanted; a repository that does not exist is made
 * @throws INVALID_ARGUMENT (files that belong to no saved model, a card that cannot be written); PACKAGE_MISSING;
 *   ACCESS_DENIED without a token that may write there; NOT_FOUND, UNSUPPORTED_FORMAT, NETWORK_ERROR, IO_ERROR, ABORTED
 */
export async function push(path: string, name: string, options: PushOptions = {}): Promise<Pushed> {
  filePath("path", path);
  const target = parseHubName("name", name);
  knownKeys("the push options", options, [
    "public",
    "message",
    "baseModel",
    "license",
    "signal",
    "onProgress",
  ]);
  jobOptions(options, "onProgress");
  const visibility = flag("public", options.public ?? false) ? "public" : "private";
  const title = nonEmptyString("message", options.message ?? `Upload ${basename(path)}`);
  const contents = await contentsOf(path);
  const own = [...contents.files, ...cardFor(path, contents, options)];
  const start = target.path === "" ? "" : `${target.path}/`;
  const files = own.map((file) => ({ ...file, path: start + file.path }));
  const arrived = new Set<string>();
  const { commit, url } = await upload(target, files, {
    ...{ title, visibility, signal: options.signal },
    onProgress({ file, phase, share }) {
      if (phase === "uploading" && share >= 1) arrived.add(file);
      options.onProgress?.({ file, phase, files: arrived.size, totalFiles: files.length });
    },
  });
  return { name: formatHubName(target), commit, url, files: files.map((file) => file.path) };
}

async function contentsOf(path: string): Promise<Contents> {
  const found = await onDisk("read", path, () => stat(path));
  if (!found.isDirectory()) {
    const { manifest } = await readDelta(path);
    return { files: [{ path: DELTA_FILE, content: { file: path } }], run: runOf(manifest), change: "delta" };
  }
  const foreign = (await foreignFiles(path)).filter((name) => !name.startsWith(".") && !isDocument(name));
  if (foreign.length > 0)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${path} is not published, because it holds what belongs to no saved model: ${foreign.slice(0, 5).join(", ")}; give the folder that a model was saved into`,
    );
  const names = await filesBelow(path);
  const run = names.includes(MANIFEST_FILE) ? runOf(await readJsonObject(join(path, MANIFEST_FILE))) : null;
  const change = names.includes(DELTA_FILE) ? "delta" : names.includes(LORA_FILE) ? "LoRA" : undefined;
  return { files: names.map((name) => ({ path: name, content: { file: join(path, name) } })), run, change };
}

/** Regular files, by paths with slashes; hidden ones are nobody's business, nor is the log: its command names places of this machine. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)).split(sep).join("/"))
    .filter((name) => name !== LOG_FILE && !name.split("/").some((part) => part.startsWith(".")))
    .sort();
}

function runOf(manifest: Readonly<Record<string, unknown>>): RunManifest | null {
  return isRunManifest(manifest) ? (manifest as unknown as RunManifest) : null;
}

/** The card where the folder has none. @throws INVALID_ARGUMENT */
function cardFor(path: string, { files, run, change }: Contents, options: PushOptions): UploadFile[] {
  const { baseModel, license } = options;
  if (files.some((file) => file.path === MODEL_CARD_FILE)) {
    const about = baseModel === undefined ? "license" : "baseModel";
    if (options[about] === undefined) return [];
    throw invalid(about, `left out, since ${join(path, MODEL_CARD_FILE)} is the card,`, options[about]);
  }
  const hubName = baseModel ?? run?.hub?.repository;
  if (run === null)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${path} has no model card, and no ${MANIFEST_FILE} to write one from; write its ${MODEL_CARD_FILE}`,
    );
  if (hubName === undefined) throw invalid("baseModel", "given (USER/MODEL), for the model card", baseModel);
  nonEmptyString("baseModel", hubName);
  const licence = license === undefined ? {} : { licence: { license: nonEmptyString("license", license) } };
  const kind = change === undefined ? {} : { change };
  const text = modelCard(run, hubName, { hubName, ...licence, ...kind });
  return [{ path: MODEL_CARD_FILE, content: { text } }];
}

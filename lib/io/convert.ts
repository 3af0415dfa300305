import { dirname, join } from "node:path";
import { flag, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { KpopError } from "../errors";
import { formatJson, readJsonObject } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { applyDelta, readDelta } from "./checkpoint-delta";
import { readCheckpoint } from "./checkpoint-read";
import { saveDiffusersFolder } from "./checkpoint-save-folder";
import { saveSingleFile } from "./checkpoint-save-single-file";
import { toldOf } from "./checkpoint-single-file";
import type { CheckpointSource, Config } from "./checkpoint-types";
import { MANIFEST_FILE } from "./file-kinds";
import { checkPlaceFor, copyInterventions } from "./interventions-file";
import { localPath } from "./local-path";
import { modelPath } from "./model-path";

/** Options of `convert`. */
export interface ConvertOptions {
  /** Default "diffusers". */
  format?: "diffusers" | "single-file";
  /** A delta (its file, or the folder it was saved into) to apply; refused unless it was made from this checkpoint. */
  delta?: string;
  /** What the network predicts, where a single file does not say: needed of Stable Diffusion 2's. */
  prediction?: "epsilon" | "v";
  /** Replace what stands at the path. Default false. */
  force?: boolean;
  signal?: AbortSignal;
}

/**
 * Writes a checkpoint in another layout, and a delta's tensors in their places; all bytes stay what they are. Weights
 * go from file to file, so that neither libtorch nor memory for a model is needed. Where a run made the weights, its
 * manifest goes along into a diffusers folder.
 * @param path what `StableDiffusion.load` takes
 * @param target a folder ("diffusers") or a file ("single-file")
 * @throws INVALID_ARGUMENT, OUTPUT_NOT_EMPTY (unless `force`), what reading a checkpoint throws; INVALID_CHECKPOINT when
 *   the delta is another's; UNSUPPORTED_FORMAT when the model denoises in a way that a single file has no place for;
 *   NOT_FOUND (a single file without tokenizer), NO_SPACE, IO_ERROR, ABORTED
 */
export async function convert(path: string, target: string, options: ConvertOptions = {}): Promise<void> {
  nonEmptyString("path", path);
  nonEmptyString("target", target);
  knownKeys("the convert options", options, ["format", "delta", "prediction", "force", "signal"]);
  jobOptions(options);
  const format = oneOf("format", options.format ?? "diffusers", ["diffusers", "single-file"] as const);
  const force = flag("force", options.force ?? false);
  const { signal } = options;
  const shared = { force, ...(signal === undefined ? {} : { signal }) };
  const told = toldOf(options);
  const checkpoint = await readCheckpoint(modelPath(await localPath(path, { signal })), told);
  const delta =
    options.delta === undefined ? undefined : await readDelta(await localPath(options.delta, { signal }));
  const source = delta === undefined ? checkpoint : await applyDelta(checkpoint, delta, shared);
  checkPlaceFor(source.interventions ?? [], format);
  if (format === "diffusers") {
    const run = delta?.manifest ?? (await runOf(checkpoint));
    const extraFiles = async (folder: string): Promise<Record<string, string>> => {
      await copyInterventions(source, folder);
      return run === null ? {} : { [MANIFEST_FILE]: formatJson(run) };
    };
    return await saveDiffusersFolder(source, {}, target, { ...shared, extraFiles });
  }
  await makeFolder(dirname(target));
  await saveSingleFile(source, {}, target, shared);
}

/** The manifest that stands beside the weights. */
async function runOf({ path, format }: CheckpointSource): Promise<Config | null> {
  const folder = format === "diffusers" ? path : dirname(path);
  return await readJsonObject(join(folder, MANIFEST_FILE)).catch((error: unknown) => {
    if (error instanceof KpopError && error.code === "NOT_FOUND") return null;
    throw error;
  });
}

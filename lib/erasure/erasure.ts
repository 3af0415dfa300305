import { mkdir, writeFile } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { filePath, flag, jobOptions, knownKeys, oneOf } from "../check";
import type { PromptKey } from "../diffusion/prompt-key";
import {
  changedTensors,
  loraRank,
  SAVE_FORMATS,
  SAVED_FILES,
  saveFile,
  type SaveFormat,
} from "../diffusion/save-model";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkTarget, writeDirectoryAtomically } from "../files/atomic";
import { isSavedModel, saveDiffusersFolder } from "../io/checkpoint-save-folder";
import { MANIFEST_FILE } from "../io/file-kinds";
import { sha256File } from "../files/sha256-file";
import { weightFilesBelow } from "../io/weight-files-below";
import type { RunManifest } from "./manifest";
import type { StepReport } from "./method";
import type { TaskVector } from "./task-vector";

/** How the result of an erasure is written. */
export interface SaveErasureOptions {
  /** Default "diffusers". */
  format?: SaveFormat;
  /** Of a LoRA's layers. Default 32. */
  rank?: number;
  /** Replace a folder that holds a saved model. Default false. */
  force?: boolean;
  signal?: AbortSignal;
}

/** The result of `erase()`. */
export class Erasure {
  readonly method: string;
  /** The model without the concepts; it shares every weight that the method left alone with the one it came from. */
  readonly model: StableDiffusion;
  /** KPOP's learned prompt, which brings the concepts back. */
  readonly key?: PromptKey;
  /** What the method "task-vector" took off, one for each concept; save them, to try other strengths. */
  readonly taskVectors: readonly TaskVector[];
  readonly history: StepReport[];
  /** Its `outputs` are filled in by `save`. */
  readonly manifest: RunManifest;

  /** @internal Use `erase`. */
  constructor(fields: {
    method: string;
    model: StableDiffusion;
    key?: PromptKey;
    taskVectors: readonly TaskVector[];
    history: StepReport[];
    manifest: RunManifest;
  }) {
    this.method = fields.method;
    this.model = fields.model;
    if (fields.key !== undefined) this.key = fields.key;
    this.taskVectors = fields.taskVectors;
    this.history = fields.history;
    this.manifest = fields.manifest;
  }

  /**
   * Writes the model and kpop-run.json into a folder: a diffusers folder, or `model.safetensors` (single-file), or
   * `delta.safetensors` (only what changed), or `lora.safetensors` (the same, approximately, within a rank). The key is
   * never among them; save it with `key.save`.
   * @throws OUTPUT_NOT_EMPTY (unless `force`), UNSUPPORTED_FORMAT (a change that no LoRA holds), NO_SPACE, IO_ERROR, ABORTED
   */
  async save(directory: string, options: SaveErasureOptions = {}): Promise<void> {
    filePath("directory", directory);
    knownKeys("the save options", options, ["format", "rank", "force", "signal"]);
    jobOptions(options);
    const format = oneOf("format", options.format ?? "diffusers", SAVE_FORMATS);
    const { force = false, signal } = options;
    const rank = loraRank(format, options.rank);
    flag("force", force);
    const cancel = signal === undefined ? {} : { signal };
    const changed = changedTensors(this.model);
    if (format === "diffusers") {
      await saveDiffusersFolder(this.model.source, changed, directory, {
        force,
        ...cancel,
        extraFiles: async (folder) => ({ [MANIFEST_FILE]: await this.describe(folder) }),
      });
      return;
    }
    await checkTarget(directory, { force, replaceable: isSavedModel });
    await writeDirectoryAtomically(
      directory,
      async (folder) => {
        await mkdir(folder, { recursive: true });
        const path = join(folder, SAVED_FILES[format]);
        await saveFile(this.model, changed, path, {
          ...cancel,
          format,
          rank,
          manifest: { ...this.manifest },
        });
        await writeFile(join(folder, MANIFEST_FILE), await this.describe(folder));
      },
      { force, replaceable: isSavedModel },
    );
  }

  /** Frees the erased model, the key and the task vectors. */
  dispose(): void {
    this.model.dispose();
    this.key?.dispose();
    for (const vector of this.taskVectors) vector.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private async describe(folder: string): Promise<string> {
    const outputs: [string, string][] = [];
    for (const path of await weightFilesBelow(folder))
      outputs.push([relative(folder, path), await sha256File(path)]);
    this.manifest.outputs = Object.fromEntries(
      outputs.sort(([a], [b]) => (basename(a) < basename(b) ? -1 : 1)),
    );
    return `${JSON.stringify(this.manifest, null, 2)}\n`;
  }
}

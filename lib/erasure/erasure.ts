import { writeFile } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { filePath, flag, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import type { Lora } from "../diffusion/lora";
import { PromptKey } from "../diffusion/prompt-key";
import { changeMetadata } from "../diffusion/save-lora";
import {
  changedTensors,
  inMemory,
  loraRank,
  SAVE_FORMATS,
  SAVED_FILES,
  saveFile,
  type SaveFormat,
} from "../diffusion/save-model";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkTarget, writeDirectoryAtomically } from "../files/atomic";
import { saveDiffusersFolder } from "../io/checkpoint-save-folder";
import { LOG_FILE, MANIFEST_FILE } from "../io/file-kinds";
import { checkPlaceFor, writeInterventions } from "../io/interventions-file";
import { foreignFiles } from "../io/saved-model";
import { checkApart } from "../io/source-places";
import { sha256File } from "../files/sha256-file";
import { weightFilesBelow } from "../io/weight-files-below";
import { formatLog, type RunManifest } from "./manifest";
import type { StepReport } from "../training/step-report";
import type { Artefact } from "./artefact";
import { readBaseCard } from "./base-card";
import { MODEL_CARD_FILE, modelCard } from "./model-card";
import { TaskVector } from "./task-vector";

/** How the result of an erasure is written. */
export interface SaveErasureOptions {
  /** Default "diffusers". */
  format?: SaveFormat;
  /** Of a LoRA's layers. Default 32; of one that was trained as one its own. */
  rank?: number;
  /** Replace a folder that holds a saved model and nothing else. Default false. */
  force?: boolean;
  /** The command that this is the work of, kept in kpop-log.json for reports. Default: none. */
  command?: string;
  signal?: AbortSignal;
}

/** The result of `erase()`. */
export class Erasure {
  readonly method: string;
  /** The model without the concepts; it shares every weight that the method left alone with the one it came from. */
  readonly model: StableDiffusion;
  /** What the method left beside the weights: KPOP's key, task vectors. Each is saved apart. */
  readonly artefacts: readonly Artefact[];
  /** What was trained where it was a LoRA: with it in its weights, the input is the model. */
  readonly lora: Lora | undefined;
  readonly history: StepReport[];
  /** Its `outputs` are filled in by `save`. */
  readonly manifest: RunManifest;

  /** @internal Use `erase`. */
  constructor(fields: {
    method: string;
    model: StableDiffusion;
    artefacts: readonly Artefact[];
    lora?: Lora | undefined;
    history: StepReport[];
    manifest: RunManifest;
  }) {
    this.method = fields.method;
    this.model = fields.model;
    this.artefacts = fields.artefacts;
    this.lora = fields.lora;
    this.history = fields.history;
    this.manifest = fields.manifest;
  }

  /** KPOP's learned prompt, which brings the concepts back. */
  get key(): PromptKey | undefined {
    return this.artefacts.find((artefact) => artefact instanceof PromptKey);
  }

  /** What the method "task-vector" took off, one for each concept; save them, to try other strengths. */
  get taskVectors(): readonly TaskVector[] {
    return this.artefacts.filter((artefact) => artefact instanceof TaskVector);
  }

  /**
   * Writes the model, kpop-run.json and kpop-log.json (the losses) into a folder: a diffusers folder with a README.md that
   * describes it, or `model.safetensors` (single-file), or `delta.safetensors` (only what changed), or `lora.safetensors`
   * (the same, approximately, within a rank; exactly, where a LoRA was trained). The key is
   * never among them; save it with `key.save`. What the model was read from is never written over: with it the concepts
   * would be gone for good. If its files have changed since they were read, the weights are saved from memory, and a
   * process warning (KPOP_SAVED_FROM_MEMORY) says so.
   * @throws OUTPUT_NOT_EMPTY (unless `force`), INVALID_ARGUMENT (a folder that is, holds or lies in the input),
   *   UNSUPPORTED_FORMAT (a change that no LoRA holds), NO_SPACE, IO_ERROR, ABORTED
   */
  async save(directory: string, options: SaveErasureOptions = {}): Promise<void> {
    filePath("directory", directory);
    knownKeys("the save options", options, ["format", "rank", "force", "command", "signal"]);
    jobOptions(options);
    const format = oneOf("format", options.format ?? "diffusers", SAVE_FORMATS);
    const { force = false, command, signal } = options;
    if (command !== undefined) nonEmptyString("command", command);
    const log = formatLog(command, this.history);
    const rank = loraRank(format, options.rank, this.lora?.rank);
    flag("force", force);
    const cancel = signal === undefined ? {} : { signal };
    checkPlaceFor(this.model.interventions, format);
    await checkApart(this.model.source, directory);
    const changed = changedTensors(this.model);
    if (format === "diffusers") {
      await saveDiffusersFolder(this.model.source, changed, directory, {
        force,
        ...cancel,
        memory: inMemory(this.model),
        extraFiles: async (folder) => {
          await writeInterventions(folder, this.model.interventions);
          const manifest = await this.describe(folder);
          return { [MANIFEST_FILE]: manifest, [LOG_FILE]: log, [MODEL_CARD_FILE]: await this.card() };
        },
      });
      return;
    }
    await checkTarget(directory, { force, foreign: foreignFiles });
    await writeDirectoryAtomically(
      directory,
      async (folder) => {
        const path = join(folder, SAVED_FILES[format]);
        const manifest = { ...this.manifest };
        if (format === "lora" && this.lora !== undefined)
          await this.lora.save(path, changeMetadata(this.model.source, manifest));
        else await saveFile(this.model, changed, path, { ...cancel, format, rank, manifest });
        await writeFile(join(folder, MANIFEST_FILE), await this.describe(folder));
        await writeFile(join(folder, LOG_FILE), log);
      },
      { force, foreign: foreignFiles },
    );
  }

  /** Frees the erased model and the artefacts. */
  dispose(): void {
    this.model.dispose();
    for (const artefact of this.artefacts) artefact.dispose();
    this.lora?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private async card(): Promise<string> {
    const { path } = this.model.source;
    return modelCard(this.manifest, path, await readBaseCard(path));
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

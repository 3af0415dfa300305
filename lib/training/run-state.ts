import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { makeFolder } from "../files/make-folder";
import * as safetensors from "../io/safetensors";
import { RUN_STATE_FILE, RUN_STATE_FORMAT } from "../io/file-kinds";
import type { Tensor } from "../runtime/tensor";
import type { StepReport } from "./step-report";

/** A part of what a run needs to go on where it stopped. */
export interface StatePart {
  /** Live tensors by name; restoring writes into them. Default none. */
  tensors?(): ReadonlyMap<string, Tensor>;
  /** Everything else, as JSON. Default nothing. */
  numbers?(): unknown;
  /** Takes saved numbers, before `tensors` are written into. */
  restore?(numbers: unknown): void;
  /** All tensors have been restored. */
  restored?(): Promise<void>;
  /** Makes what a run that starts from the beginning needs and a resumed one finds in its state. */
  prepare?(): Promise<void>;
  /** The run is over, however it ended. */
  close?(): Promise<void>;
}

/** Parts by name. */
export type StateParts = ReadonlyMap<string, StatePart>;

/** What the run as a whole has spent and said so far. */
export interface RunProgress {
  iteration: number;
  seconds: number;
  evaluations: number;
  history: StepReport[];
}

/** The saved state of a run: one file, replaced whole. A run that does not resume starts over and replaces it. */
export class RunState {
  private known: Promise<string> | undefined;

  /** @param identity hashes the model and all options, once and where a state is kept; another run's state is refused */
  constructor(
    private readonly options: { directory: string; every: number } | undefined,
    private readonly resume: boolean,
    private readonly identity: () => Promise<string>,
  ) {}

  /** Where the state is kept; undefined when the run keeps none. */
  get path(): string | undefined {
    return this.options === undefined ? undefined : join(this.options.directory, RUN_STATE_FILE);
  }

  due(iteration: number): boolean {
    return this.options !== undefined && iteration % this.options.every === 0;
  }

  async save(parts: StateParts, progress: RunProgress): Promise<void> {
    const { path, options } = this;
    if (path === undefined || options === undefined) return;
    await makeFolder(options.directory);
    const numbers = [...parts].map(([name, part]) => [name, part.numbers?.() ?? null] as const);
    await safetensors.save(path, tensorsOf(parts), {
      format: RUN_STATE_FORMAT,
      fingerprint: await this.fingerprint(),
      progress: JSON.stringify(progress),
      numbers: JSON.stringify(Object.fromEntries(numbers)),
    });
  }

  /**
   * Puts a saved state, if there is one and it was asked for, into the parts. Makes the folder, so that a place that
   * cannot be written is found before the work and not after it.
   * @param until the iteration that the parts are of at the latest: of a later state they are left as they are
   * @returns the progress it stands for; null to start from the beginning
   * @throws INVALID_ARGUMENT when the state belongs to another run; INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR
   */
  async restore(parts: StateParts, until = Infinity): Promise<RunProgress | null> {
    const { path, options } = this;
    if (path === undefined || options === undefined) return null;
    await makeFolder(options.directory);
    // Now, and not when an interrupt is to be saved.
    await this.fingerprint();
    if (!this.resume || !(await exists(path))) return null;
    const file = await safetensors.open(path);
    try {
      const { metadata } = file;
      if (metadata["format"] !== RUN_STATE_FORMAT)
        throw new KpopError("INVALID_CHECKPOINT", `${path} is no saved state of a run`);
      if (metadata["fingerprint"] !== (await this.fingerprint())) {
        throw new KpopError(
          "INVALID_ARGUMENT",
          `${path} belongs to a run with another model or other options; give the same ones, or another checkpoint directory`,
        );
      }
      const progress = parse(path, metadata["progress"]) as RunProgress;
      if (progress.iteration > until) return progress;
      const numbers = parse(path, metadata["numbers"]) as Record<string, unknown>;
      for (const [name, part] of parts) part.restore?.(numbers[name]);
      for (const [name, tensor] of tensorsOf(parts)) {
        const saved = await file.read(name);
        await tensor.copyFrom(saved.to({ device: tensor.device }));
        saved.dispose();
      }
      for (const part of parts.values()) await part.restored?.();
      return progress;
    } finally {
      await file.close();
    }
  }

  private fingerprint(): Promise<string> {
    this.known ??= this.identity();
    return this.known;
  }
}

function tensorsOf(parts: StateParts): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  for (const [part, state] of parts)
    for (const [name, tensor] of state.tensors?.() ?? []) found.set(`${part}.${name}`, tensor);
  return found;
}

function parse(path: string, text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch (cause) {
    throw new KpopError("INVALID_CHECKPOINT", `${path} is a damaged state of a run`, { cause });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

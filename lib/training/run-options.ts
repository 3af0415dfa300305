import { resolve } from "node:path";
import { filePath, flag, integer, invalid, jobOptions, knownKeys } from "../check";
import type { StepReport } from "./step-report";

/** Options of everything that trains: draws, cancellation, progress, and where it goes on after an interruption. */
export interface RunOptions {
  /** Of every random draw. Default 0. */
  seed?: number;
  signal?: AbortSignal;
  onStep?(report: StepReport): void;
  /** Where and how often (in iterations, default 50) the state is saved, for `resume`. */
  checkpoint?: { directory: string; every?: number };
  /** Go on from the state in `checkpoint.directory` if there is one. Default false. */
  resume?: boolean;
}

/** Keys of `RunOptions`. */
export const RUN_OPTIONS = ["seed", "signal", "onStep", "checkpoint", "resume"] as const;

/** Complete and checked. */
export interface ParsedRunOptions {
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
  readonly onStep: ((report: StepReport) => void) | undefined;
  readonly checkpoint: { readonly directory: string; readonly every: number } | undefined;
  readonly resume: boolean;
}

/** @throws INVALID_ARGUMENT naming the option */
export function parseRunOptions(options: RunOptions): ParsedRunOptions {
  const { seed = 0, signal, onStep, checkpoint, resume = false } = options;
  integer("seed", seed, 0);
  jobOptions(options, "onStep");
  flag("resume", resume);
  if (resume && checkpoint === undefined)
    throw invalid("checkpoint", "given when resume is true", checkpoint);
  return {
    seed,
    signal,
    onStep,
    resume,
    checkpoint: checkpoint === undefined ? undefined : parseCheckpoint(checkpoint),
  };
}

function parseCheckpoint(checkpoint: unknown): { directory: string; every: number } {
  if (typeof checkpoint !== "object" || checkpoint === null)
    throw invalid("checkpoint", "an object with a directory", checkpoint);
  knownKeys("checkpoint", checkpoint, ["directory", "every"]);
  const { directory, every = 50 } = checkpoint as { directory?: unknown; every?: unknown };
  return {
    // Now: the working directory may be another one when a state is saved.
    directory: resolve(filePath("checkpoint.directory", directory)),
    every: integer("checkpoint.every", every, 1),
  };
}

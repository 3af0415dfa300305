import { list, number, object, orNull, record, text, whole, type Shape } from "../certificate/shape";
import { KpopError } from "../errors";
import { readJsonObject } from "../files/json-file";

/** What lies in a folder. */
export interface Folder {
  /** As it was given. */
  folder: string;
}

/** An intervention by what tells it from others. */
export interface KnownIntervention {
  name: string;
  settings: unknown;
}

/** By what pictures are known to be a model's. */
export interface ModelMark {
  /** SHA-256 of its weight files. */
  weights: readonly string[];
  /** Of weights that were changed in memory; null where there are none. */
  changes: string | null;
  interventions: readonly KnownIntervention[];
}

/** A `Rate`. */
export const RATE = object({
  value: number(),
  low: number(),
  high: number(),
  hits: whole(0),
  total: whole(1),
});
export const INTERVENTIONS = list(object({ name: text() }));
/** The members of a `ModelMark`. */
export const MARK = { weights: list(text()), changes: orNull(text()), interventions: INTERVENTIONS };
/** Losses of a run, iteration by iteration. */
export const STEPS = list(object({ iteration: whole(0), losses: record(orNull(number())) }));

/**
 * What a command wrote.
 * @param by the command
 * @throws NOT_FOUND, IO_ERROR, INVALID_CHECKPOINT where it is not of its form
 */
export async function readShaped(path: string, shape: Shape, by: string): Promise<Record<string, unknown>> {
  const value = await readJsonObject(path);
  const fault = shape(value, "");
  if (fault === null) return value;
  throw notAsWritten(path, by, `${fault.replace(/^\./, "")} is missing or not of its form`);
}

/** @param fault what is wrong, the end of a sentence */
export function notAsWritten(path: string, by: string, fault: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_CHECKPOINT", `${path} is not as ${by} writes it, or older: ${fault}`, {
    cause,
  });
}

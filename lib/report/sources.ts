import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ATTACK_FILE, type AttackResult } from "../attack/attack";
import { DESCRIPTION_FILE } from "../diffusion/image-set-files";
import { EVALUATION_FILE, findSet, readResult } from "../certificate/measured";
import {
  list,
  number,
  object,
  optional,
  orNull,
  record,
  text,
  that,
  whole,
  type Shape,
} from "../certificate/shape";
import type { RunLog, RunManifest } from "../erasure/manifest";
import { KpopError, throwIfAborted } from "../errors";
import { ATTRIBUTION_FILE } from "../evaluation/attribution";
import type { Evaluation } from "../evaluation/evaluation";
import { readJsonObject } from "../files/json-file";
import { INTERVENTIONS_FILE, LOG_FILE, MANIFEST_FILE } from "../io/file-kinds";

/** What a folder holds of what the commands leave. */
export type Source = ErasureSource | EvaluationSource | AttackSource | AttributionSource;

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

interface Folder {
  /** As it was given. */
  folder: string;
}

/** What `erase` leaves. */
export interface ErasureSource extends Folder {
  kind: "erasure";
  manifest: RunManifest;
  /** Null where the run wrote none. */
  log: RunLog | null;
  interventions: readonly KnownIntervention[];
}

/** What `evaluate` leaves. */
export interface EvaluationSource extends Folder {
  kind: "evaluation";
  evaluation: Evaluation;
  /** Folder of the pictures. */
  pictures: string;
  model: ModelMark;
  /** Whether a key was put to the model. */
  withKey: boolean;
  /** How its pictures were drawn, in one line. */
  drawing: string;
}

/** attack.json. */
export interface AttackRecord extends Omit<AttackResult, "inputs" | "dispose"> {
  inputs: (Pick<AttackResult["inputs"][number], "name" | "prompt" | "text" | "band" | "rate" | "seed"> & {
    tokens?: readonly string[];
  })[];
  prompt: string;
  model: ModelMark;
  command?: string;
}

/** What `attack` leaves. */
export interface AttackSource extends Folder {
  kind: "attack";
  attack: AttackRecord;
}

/** What `attribution` leaves. */
export interface AttributionSource extends Folder {
  kind: "attribution";
  pictures: readonly {
    prompt: string;
    seed: number;
    file: string;
    words: readonly { word: string; file: string; heads?: readonly string[] }[];
  }[];
  model: ModelMark;
  withKey: boolean;
  command?: string;
}

const RATE = object({ value: number(), low: number(), high: number(), hits: whole(0), total: whole(1) });
const INTERVENTIONS = list(object({ name: text() }));
const MARK = { weights: list(text()), changes: orNull(text()), interventions: INTERVENTIONS };
const STEPS = list(object({ iteration: whole(0), losses: record(orNull(number())) }));
const MANIFEST = object({
  ...{ method: text(/./), reference: text(), concepts: list(text()), preserve: list(text()) },
  ...{ neighbours: list(text()), seed: number(), seconds: number(), finishedAt: text() },
  ...{ iterations: number(), unetEvaluations: number(), changedParameters: number(), threads: number() },
  ...{ device: text(), dtype: text(), options: object({}), versions: record(text()) },
  ...{ inputs: record(text()), outputs: record(text()) },
});
const LOG = object({ command: orNull(text()), steps: STEPS });
const SET = object({ ...MARK, key: orNull(object({})), versions: record(text()) });
const ATTACK = object({
  ...{ method: text(/./), concept: text(), prompt: text(), model: object(MARK), command: optional(text()) },
  ...{ before: RATE, after: RATE, original: optional(RATE), history: STEPS },
  ...{ unetEvaluations: number(), measuringEvaluations: number(), seconds: number() },
  inputs: list(object({ name: text(), prompt: text(), rate: RATE })),
  pictures: list(object({ input: text(), seed: whole(0), path: optional(text(/./)) })),
});

const ATTRIBUTED = object({
  ...{ model: object(MARK), withKey: that((value) => typeof value === "boolean"), command: optional(text()) },
  pictures: list(
    object({
      ...{ prompt: text(), seed: whole(0), file: text(/./) },
      words: list(object({ word: text(), file: text(/./), heads: optional(list(text(/./))) })),
    }),
  ),
});

/** The files that tell what a folder holds, and the commands that write them. */
const READERS: readonly (readonly [file: string, by: string, read: (folder: string) => Promise<Source>])[] = [
  [MANIFEST_FILE, "erase", readErasure],
  [EVALUATION_FILE, "evaluate", readEvaluation],
  [ATTACK_FILE, "attack", readAttack],
  [ATTRIBUTION_FILE, "attribution", readAttribution],
];

/**
 * What folders hold, in their order; of one that holds nothing itself, what the folders right in it do.
 * @throws NOT_FOUND, INVALID_ARGUMENT (nothing to report on), INVALID_CHECKPOINT (a file that no command wrote), IO_ERROR,
 *   ABORTED
 */
export async function readSources(
  folders: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Source[]> {
  const found: Source[] = [];
  const places = [...new Map(folders.map((folder) => [resolve(folder), folder])).values()];
  for (const folder of places) {
    if ((await stat(folder).catch(() => null))?.isDirectory() !== true)
      throw new KpopError("NOT_FOUND", `There is no folder ${folder}`);
    const own = await readFolder(folder, signal);
    const names = own.length > 0 ? [] : (await readdir(folder)).sort();
    const below: Source[] = [];
    for (const name of names) below.push(...(await readFolder(join(folder, name), signal)));
    if (own.length + below.length === 0) throw nothingIn(folder);
    found.push(...own, ...below);
  }
  return found;
}

function nothingIn(folder: string): KpopError {
  const files = READERS.map(([file, by]) => `${file} (from ${by})`).join(", ");
  return new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${folder} to be a folder that a command filled, or to hold such folders, but there is none of ${files}`,
  );
}

async function readFolder(folder: string, signal: AbortSignal | undefined): Promise<Source[]> {
  const found: Source[] = [];
  for (const [file, , read] of READERS) {
    throwIfAborted(signal);
    if ((await stat(join(folder, file)).catch(() => null))?.isFile() === true) found.push(await read(folder));
  }
  return found;
}

async function readErasure(folder: string): Promise<ErasureSource> {
  const manifest = (await readShaped(
    join(folder, MANIFEST_FILE),
    MANIFEST,
    "erase",
  )) as unknown as RunManifest;
  const log = await optionalFile(join(folder, LOG_FILE), LOG);
  const listed = await optionalFile(
    join(folder, INTERVENTIONS_FILE),
    object({ interventions: INTERVENTIONS }),
  );
  const interventions = (listed?.["interventions"] ?? []) as KnownIntervention[];
  return { kind: "erasure", folder, manifest, log: log as RunLog | null, interventions };

  async function optionalFile(path: string, shape: Shape): Promise<Record<string, unknown> | null> {
    const there = (await stat(path).catch(() => null)) !== null;
    return there ? await readShaped(path, shape, "erase") : null;
  }
}

async function readEvaluation(folder: string): Promise<EvaluationSource> {
  const file = join(folder, EVALUATION_FILE);
  const evaluation = await readResult(file);
  const { directory } = evaluation;
  const pictures = (await findSet(dirname(file), basename(directory))) ?? directory;
  const set = await readShaped(join(pictures, DESCRIPTION_FILE), SET, "evaluate");
  const drawn = ["steps", "guidanceScale", "sampler", "width", "height"].map((name) => set[name]);
  const [steps, guidance, sampler, width, height] = drawn.map(String);
  const drawing = `${width} × ${height} pixels, ${steps} steps of ${sampler}, guidance ${guidance}`;
  const model = set as unknown as ModelMark;
  return { kind: "evaluation", folder, evaluation, pictures, model, withKey: set["key"] !== null, drawing };
}

async function readAttack(folder: string): Promise<AttackSource> {
  const attack = await readShaped(join(folder, ATTACK_FILE), ATTACK, "attack");
  return { kind: "attack", folder, attack: attack as unknown as AttackRecord };
}

async function readAttribution(folder: string): Promise<AttributionSource> {
  const found = await readShaped(join(folder, ATTRIBUTION_FILE), ATTRIBUTED, "attribution");
  return { kind: "attribution", folder, ...(found as unknown as Omit<AttributionSource, "kind" | "folder">) };
}

/** @param by the command that writes such a file */
async function readShaped(path: string, shape: Shape, by: string): Promise<Record<string, unknown>> {
  const value = await readJsonObject(path);
  const fault = shape(value, "");
  if (fault === null) return value;
  throw new KpopError(
    "INVALID_CHECKPOINT",
    `${path} is not as ${by} writes it, or older: ${fault.replace(/^\./, "")} is missing or not of its form`,
  );
}

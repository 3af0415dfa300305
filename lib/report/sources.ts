import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ATTACK_FILE, type AttackResult } from "../attack/attack";
import { EVALUATION_FILE } from "../certificate/measured";
import { list, number, object, optional, orNull, record, text, that, whole, type Shape } from "../certificate/shape"; // prettier-ignore
import { areEarlierRuns, type RunLog, type RunManifest } from "../erasure/manifest";
import { KpopError, throwIfAborted } from "../errors";
import { ATTRIBUTION_FILE } from "../evaluation/attribution";
import { INTERVENTIONS_FILE, LOG_FILE, MANIFEST_FILE } from "../io/file-kinds";
import { readEvaluations, type EvaluationSource } from "./evaluations";
import { INTERVENTIONS, MARK, RATE, readShaped, STEPS, type Folder, type KnownIntervention, type ModelMark } from "./shapes"; // prettier-ignore

/** What a folder holds of what the commands leave. */
export type Source = ErasureSource | EvaluationSource | AttackSource | AttributionSource;

/** What `erase` leaves. */
export interface ErasureSource extends Folder {
  kind: "erasure";
  manifest: RunManifest;
  /** Null where the run wrote none. */
  log: RunLog | null;
  interventions: readonly KnownIntervention[];
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

const MANIFEST = object({
  ...{ method: text(/./), reference: text(), concepts: list(text()), preserve: list(text()) },
  ...{ neighbours: list(text()), seed: number(), seconds: number(), finishedAt: text() },
  ...{ iterations: number(), unetEvaluations: number(), changedParameters: number(), threads: number() },
  ...{ device: text(), dtype: text(), options: object({}), versions: record(text()) },
  ...{ inputs: record(text()), outputs: record(text()), before: that(areEarlierRuns) },
});
const LOG = object({ command: orNull(text()), steps: STEPS });
const ATTACK = object({
  ...{ method: text(/./), concept: text(), prompt: text(), model: object(MARK), command: optional(text()) },
  ...{ before: RATE, after: RATE, original: optional(RATE), history: STEPS },
  ...{ unetEvaluations: number(), measuringEvaluations: number(), seconds: number() },
  inputs: list(object({ name: text(), prompt: text(), rate: RATE })),
  pictures: list(object({ input: text(), seed: whole(0), file: optional(text(/./)) })),
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
const READERS: readonly (readonly [
  file: string,
  by: string,
  read: (folder: string) => Promise<readonly Source[]>,
])[] = [
  [MANIFEST_FILE, "erase", only(readErasure)],
  [EVALUATION_FILE, "evaluate", readEvaluations],
  [ATTACK_FILE, "attack", only(readAttack)],
  [ATTRIBUTION_FILE, "attribution", only(readAttribution)],
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
    if ((await stat(join(folder, file)).catch(() => null))?.isFile() === true)
      found.push(...(await read(folder)));
  }
  return found;
}

/** A reader of what is of one model. */
function only(read: (folder: string) => Promise<Source>): (folder: string) => Promise<readonly Source[]> {
  return async (folder) => [await read(folder)];
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

async function readAttack(folder: string): Promise<AttackSource> {
  const attack = await readShaped(join(folder, ATTACK_FILE), ATTACK, "attack");
  return { kind: "attack", folder, attack: attack as unknown as AttackRecord };
}

async function readAttribution(folder: string): Promise<AttributionSource> {
  const found = await readShaped(join(folder, ATTRIBUTION_FILE), ATTRIBUTED, "attribution");
  return { kind: "attribution", folder, ...(found as unknown as Omit<AttributionSource, "kind" | "folder">) };
}

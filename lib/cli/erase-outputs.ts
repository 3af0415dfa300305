import { stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { KpopError } from "../index";
import type { SaveFormat } from "../index";
import {
  checkOutputFile,
  checkOutputFolder,
  refuseOtherKey,
  reserveOutputFolder,
  RUN_STATE_FILE,
} from "../internal";
import type { CheckOutputOptions, Reservation } from "../internal";
import { withForceHint } from "./force-hint";

/** Where an erasure leaves what it makes. */
export interface Outputs {
  /** Folder of the model. */
  out: string;
  /** Files of what the method leaves beside it, by name: "key". */
  artefacts: ReadonlyMap<string, string>;
  format: SaveFormat;
  /** Of a LoRA. */
  rank?: number;
  /** What the source predicts, where it does not say. */
  prediction?: "epsilon" | "v";
  force?: boolean;
  /** Folder of the run's state. */
  checkpoint?: string;
  resume?: boolean;
}

/** Files beside the model's folder: DIR.key.safetensors beside DIR. */
export function artefactPaths(out: string, names: readonly string[]): Map<string, string> {
  const plain = /^\.{0,2}$/.test(basename(out)) ? resolve(out) : out.replace(/\/+$/, "");
  return new Map(names.map((name) => [name, `${plain}.${name}.safetensors`]));
}

/** Everything that could refuse the result, asked before the work.
 *  @throws OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NOT_FOUND, IO_ERROR */
export async function checkOutputs(
  source: string,
  { out, artefacts, force = false, checkpoint, resume }: Outputs,
): Promise<void> {
  await withForceHint(() => checkOutputFolder(out, { force, source }));
  for (const [name, path] of artefacts)
    refuseWithin(out, `--${name}`, path, `whoever gets the model would get the ${name}`);
  if (checkpoint !== undefined) refuseWithin(out, "--checkpoint", checkpoint, "that folder is written anew");
  for (const path of artefacts.values()) await checkArtefactFile(path, out, { force, source });
  if (checkpoint === undefined) return;
  await checkOutputFile(join(checkpoint, "state"), { force: true, source }).catch(async (error: unknown) => {
    if (!(error instanceof KpopError) || error.code !== "NOT_FOUND") throw error;
    await checkOutputFolder(checkpoint, { source });
  });
  if (resume === true || force || (await missing(join(checkpoint, RUN_STATE_FILE)))) return;
  throw new KpopError(
    "OUTPUT_NOT_EMPTY",
    `${checkpoint} holds the state of a run; go on with it (--resume), start anew over it (--force), or choose another folder`,
  );
}

async function checkArtefactFile(path: string, out: string, options: CheckOutputOptions): Promise<void> {
  const besideOut = dirname(resolve(path)) === dirname(resolve(out));
  const folderComes = besideOut && (await missing(dirname(resolve(out))));
  if (!folderComes) await withForceHint(() => checkOutputFile(path, options));
}

/**
 * Whether an artefact can take its place, asked once more when it is to.
 * @throws OUTPUT_NOT_EMPTY, NOT_FOUND, IO_ERROR
 */
export async function checkArtefact(
  path: string,
  concepts: readonly string[],
  passphrase: string | undefined,
  force: boolean,
): Promise<void> {
  await withForceHint(() => checkOutputFile(path, { force }));
  await refuseOtherKey(path, concepts, passphrase);
}

/**
 * Keeps the places for the run: nobody else writes there, and there is room.
 * @throws OUTPUT_NOT_EMPTY, NO_SPACE, NOT_FOUND, IO_ERROR
 */
export async function reserveOutputs(
  source: string,
  { out, artefacts, format, prediction, force = false }: Outputs,
): Promise<Reservation> {
  const whole = format === "diffusers" || format === "single-file";
  const told = prediction === undefined ? {} : { prediction };
  return await reserveOutputFolder(out, { source, ...told, whole, force, files: [...artefacts.values()] });
}

function refuseWithin(folder: string, name: string, path: string, why: string): void {
  const way = relative(resolve(folder), resolve(path));
  if (way === ".." || way.startsWith("../")) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${name} to lie outside of ${folder} but received "${path}": ${why}`,
  );
}

async function missing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    () => true,
  );
}

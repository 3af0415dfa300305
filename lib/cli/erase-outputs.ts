import { mkdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { KpopError } from "../index";
import type { Erasure, SaveFormat } from "../index";
import { checkOutputFile, checkOutputFolder, RUN_STATE_FILE } from "../internal";
import { say } from "./output";

/** Where an erasure leaves what it makes. */
export interface Outputs {
  /** Folder of the model. */
  out: string;
  /** File of the key, where the method gives one. */
  key: string | undefined;
  format: SaveFormat;
  /** Of a LoRA. */
  rank?: number;
  force?: boolean;
  /** Folder of the run's state. */
  checkpoint?: string;
  resume?: boolean;
}

/** Everything that could refuse the result, asked before the work.
 *  @throws OUTPUT_NOT_EMPTY, INVALID_ARGUMENT, NOT_FOUND, IO_ERROR */
export async function checkOutputs(
  model: string,
  { out, key, force = false, checkpoint, resume }: Outputs,
): Promise<void> {
  await withForceHint(() => checkOutputFolder(out, { force }));
  if (key !== undefined) refuseWithin(out, "--key", key, "whoever gets the model would get the key");
  if (checkpoint !== undefined) refuseWithin(out, "--checkpoint", checkpoint, "that folder is written anew");
  if (model !== "pocket" && resolve(model) !== resolve(out))
    refuseWithin(out, "MODEL", model, "that folder is written anew");
  if (key !== undefined) await checkKeyFile(key, out, force);
  if (checkpoint === undefined) return;
  await checkOutputFile(join(checkpoint, "state"), { force: true }).catch(async (error: unknown) => {
    if (!(error instanceof KpopError) || error.code !== "NOT_FOUND") throw error;
    await checkOutputFolder(checkpoint);
  });
  if (resume === true || force || (await missing(join(checkpoint, RUN_STATE_FILE)))) return;
  throw new KpopError(
    "OUTPUT_NOT_EMPTY",
    `${checkpoint} holds the state of a run; go on with it (--resume), start anew over it (--force), or choose another folder`,
  );
}

async function checkKeyFile(key: string, out: string, force: boolean): Promise<void> {
  const besideOut = dirname(resolve(key)) === dirname(resolve(out));
  const folderComes = besideOut && (await missing(dirname(resolve(out))));
  if (!folderComes) await withForceHint(() => checkOutputFile(key, { force }));
}

function refuseWithin(folder: string, name: string, path: string, why: string): void {
  const way = relative(resolve(folder), resolve(path));
  if (way === ".." || way.startsWith("../")) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected ${name} to lie outside of ${folder} but received "${path}": ${why}`,
  );
}

async function withForceHint(check: () => Promise<void>): Promise<void> {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof KpopError)) throw error;
    const message = error.message.replace("ask for it to be replaced (force)", "replace it with --force");
    throw new KpopError(error.code, message, { cause: error });
  }
}

async function missing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    () => true,
  );
}

/**
 * Saves the model and its key. The key takes its name only when the model is whole, so that an old pair is replaced as
 * a pair. What no LoRA holds becomes a delta: the work of a run is not given up for its form.
 * @returns the format that was written
 */
export async function saveOutputs(
  erasure: Erasure,
  { out, key, format, rank, force = false }: Outputs,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<SaveFormat> {
  const save = async (): Promise<SaveFormat> => {
    const options = { force, signal };
    try {
      await erasure.save(out, { ...options, format, ...(rank === undefined ? {} : { rank }) });
      return format;
    } catch (error) {
      if (!(error instanceof KpopError) || error.code !== "UNSUPPORTED_FORMAT" || format !== "lora")
        throw error;
      say(`${error.message}. Saving a delta instead`);
      await erasure.save(out, { ...options, format: "delta" });
      return "delta";
    }
  };
  if (erasure.key === undefined || key === undefined) return await save();
  await mkdir(dirname(resolve(out)), { recursive: true });
  const pending = join(dirname(key), `.${basename(key)}.${process.pid}.tmp`);
  await erasure.key.save(pending, passphrase === undefined ? {} : { passphrase });
  const written = await save().catch(async (error: unknown) => {
    await rm(pending, { force: true });
    throw error;
  });
  // Outside of what cleans up: the model is saved by now, and this key alone fits it.
  await rename(pending, key);
  return written;
}

import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, realpath, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { KpopError } from "../index";
import type { Erasure, SaveFormat } from "../index";
import { checkKey, type Outputs } from "./erase-outputs";
import { say } from "./output";

/** Folders beside the wanted one that are tried. */
const TRIES = 99;

/**
 * Saves the model and its key. The key takes its name only when the model is whole, so that an old pair is replaced as
 * a pair. What no LoRA holds becomes a delta: the work of a run is not given up for its form, nor for its place. Where
 * that turns out not to take it, the result goes beside it, or as a delta into the system's temporary folder.
 * @param model what it was erased from, for the message
 * @returns the format that was written
 * @throws ABORTED; the error of the place, with where the result is
 */
export async function saveOutputs(
  model: string,
  erasure: Erasure,
  outputs: Outputs,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<SaveFormat> {
  try {
    return await savePair(erasure, outputs, passphrase, signal);
  } catch (error) {
    if (signal.aborted || error instanceof KeyNotNamed) throw error;
    const place =
      (await rescueBeside(erasure, outputs, passphrase, signal)) ??
      (await rescueAnywhere(model, erasure, passphrase, signal));
    if (place === null) throw error;
    if (!(error instanceof KpopError)) {
      say(place);
      throw error;
    }
    throw new KpopError(error.code, `${error.message}\n${place}`, { cause: error });
  }
}

/** The model is saved, and its key lies whole under another name. */
class KeyNotNamed extends KpopError {}

async function savePair(
  erasure: Erasure,
  outputs: Outputs,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<SaveFormat> {
  const { out, force = false } = outputs;
  const key = erasure.key === undefined ? undefined : outputs.key;
  if (key === undefined) return await saveModel(erasure, outputs, { force, signal });
  // Saving says what is wrong with it.
  await mkdir(dirname(resolve(out)), { recursive: true }).catch(() => undefined);
  await checkKey(key, erasure.key!.concepts, passphrase, force);
  const place = await realpath(key).catch(() => resolve(key));
  const pending = join(dirname(place), `.kpop-key-${randomBytes(8).toString("hex")}.safetensors`);
  await saveKey(erasure, pending, passphrase);
  const written = await saveModel(erasure, outputs, { force, signal }).catch(async (error: unknown) => {
    await rm(pending, { force: true });
    throw error;
  });
  try {
    await rename(pending, place);
  } catch (cause) {
    // The model is saved by now, and this key alone fits it.
    const { message } = cause as Error;
    const now = `The model is saved in ${out}, and its key is ${pending}: give it another name`;
    throw new KeyNotNamed("IO_ERROR", `Cannot write ${key}: ${message}\n${now}`, { cause });
  }
  return written;
}

async function saveModel(
  erasure: Erasure,
  { out, format, rank }: Outputs,
  options: { force: boolean; signal: AbortSignal },
): Promise<SaveFormat> {
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
}

/** @returns what it did, null where it could not */
async function rescueBeside(
  erasure: Erasure,
  outputs: Outputs,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<string | null> {
  const wanted = resolve(outputs.out);
  for (let n = 1; n <= TRIES; n++) {
    const out = `${wanted}-rescued-${n}`;
    const key = `${out}.key.safetensors`;
    if ((await exists(out)) || (await exists(key))) continue;
    try {
      if (erasure.key !== undefined) await saveKey(erasure, key, passphrase);
      await saveModel(erasure, { ...outputs, out }, { force: false, signal });
      const pair =
        erasure.key === undefined
          ? `The result is saved in ${out}`
          : `The result is saved in ${out}, its key in ${key}`;
      return `${pair}: move it where it belongs`;
    } catch {
      await rm(key, { force: true }).catch(() => undefined);
      return null;
    }
  }
  return null;
}

/** @returns what it did, null where it could not */
async function rescueAnywhere(
  model: string,
  erasure: Erasure,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    const folder = await mkdtemp(join(tmpdir(), "kpop-rescued-"));
    const key = join(folder, "key.safetensors");
    if (erasure.key !== undefined) await saveKey(erasure, key, passphrase);
    await erasure.save(join(folder, "model"), { format: "delta", signal });
    const also = erasure.key === undefined ? "" : ", with its key";
    return `The result is saved as a delta in ${folder}${also}: copy it to a safe place; it applies onto ${model}`;
  } catch {
    return null;
  }
}

function saveKey(erasure: Erasure, path: string, passphrase: string | undefined): Promise<void> {
  return erasure.key!.save(path, passphrase === undefined ? {} : { passphrase });
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

import { randomBytes } from "node:crypto";
import { mkdtemp, realpath, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { KpopError } from "../index";
import type { Erasure, SaveFormat } from "../index";
import { makeFolder } from "../internal";
import type { Artefact } from "../internal";
import { artefactPaths, checkArtefact, type Outputs } from "./erase-outputs";
import { say } from "./output";
import { ownCommand } from "./shell";

/** Folders beside the wanted one that are tried. */
const TRIES = 99;

/**
 * Saves the model and its artefacts. They take their names only when the model is whole, so that an old set is replaced
 * as a set. What no LoRA holds becomes a delta: the work of a run is not given up for its form, nor for its place. Where
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
    return await saveAll(erasure, outputs, passphrase, signal);
  } catch (error) {
    if (signal.aborted || error instanceof NotNamed) throw error;
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

/** The model is saved, and an artefact lies whole under another name. */
class NotNamed extends KpopError {}

async function saveAll(
  erasure: Erasure,
  outputs: Outputs,
  passphrase: string | undefined,
  signal: AbortSignal,
): Promise<SaveFormat> {
  const { out, force = false } = outputs;
  // Saving says what is wrong with it.
  await makeFolder(dirname(out)).catch(() => undefined);
  const pending: { place: string; path: string; name: string }[] = [];
  try {
    for (const [artefact, path] of placesOf(erasure, outputs)) {
      await checkArtefact(path, erasure.manifest.concepts, passphrase, force);
      const place = await realpath(path).catch(() => resolve(path));
      const held = join(
        dirname(place),
        `.kpop-${artefact.name}-${randomBytes(8).toString("hex")}.safetensors`,
      );
      pending.push({ place, path: held, name: artefact.name });
      await saveArtefact(artefact, held, passphrase);
    }
    const written = await saveModel(erasure, outputs, { force, signal });
    for (const { place, path, name } of pending.splice(0)) await takeName(out, name, path, place);
    return written;
  } finally {
    for (const { path } of pending) await rm(path, { force: true });
  }
}

async function takeName(out: string, name: string, path: string, place: string): Promise<void> {
  try {
    await rename(path, place);
  } catch (cause) {
    // The model is saved by now, and this one alone fits it.
    const { message } = cause as Error;
    const now = `The model is saved in ${out}, and its ${name} is ${path}: give it another name`;
    throw new NotNamed("IO_ERROR", `Cannot write ${place}: ${message}\n${now}`, { cause });
  }
}

/** The artefacts of a run with their files. */
function placesOf(erasure: Erasure, { artefacts }: Outputs): [Artefact, string][] {
  return erasure.artefacts.flatMap((artefact): [Artefact, string][] => {
    const path = artefacts.get(artefact.name);
    return path === undefined ? [] : [[artefact, path]];
  });
}

async function saveModel(
  erasure: Erasure,
  { out, format, rank }: Outputs,
  options: { force: boolean; signal: AbortSignal },
): Promise<SaveFormat> {
  const saving = { ...options, command: ownCommand() };
  try {
    await erasure.save(out, {
      ...saving,
      format,
      ...(rank === undefined || format !== "lora" ? {} : { rank }),
    });
    return format;
  } catch (error) {
    if (!(error instanceof KpopError) || error.code !== "UNSUPPORTED_FORMAT" || format !== "lora")
      throw error;
    say(`${error.message}. Saving a delta instead`);
    await erasure.save(out, { ...saving, format: "delta" });
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
    const artefacts = artefactPaths(out, erasure.artefacts.map(({ name }) => name)); // prettier-ignore
    const taken = await Promise.all([out, ...artefacts.values()].map(exists));
    if (taken.includes(true)) continue;
    try {
      await saveAll(erasure, { ...outputs, out, artefacts, force: false }, passphrase, signal);
      const others = [...artefacts].map(([name, path]) => `, its ${name} in ${path}`).join("");
      return `The result is saved in ${out}${others}: move it where it belongs`;
    } catch {
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
    for (const artefact of erasure.artefacts)
      await saveArtefact(artefact, join(folder, `${artefact.name}.safetensors`), passphrase);
    await erasure.save(join(folder, "model"), { format: "delta", command: ownCommand(), signal });
    const names = erasure.artefacts.map(({ name }) => name);
    const also = names.length === 0 ? "" : `, with its ${names.join(", ")}`;
    return `The result is saved as a delta in ${folder}${also}: copy it to a safe place; it applies onto ${model}`;
  } catch {
    return null;
  }
}

function saveArtefact(artefact: Artefact, path: string, passphrase: string | undefined): Promise<void> {
  return artefact.secret === true && passphrase !== undefined
    ? artefact.save(path, { passphrase })
    : artefact.save(path);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

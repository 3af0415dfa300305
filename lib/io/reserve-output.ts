import { open, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { KpopError } from "../errors";
import { checkTarget, throughLink, tidyBeside } from "../files/atomic";
import { checkSpace } from "../files/free-space";
import { tryLock } from "../files/lock";
import { makeFolder } from "../files/make-folder";
import { onDisk } from "../files/system-error";
import { nameHash, temporaryBeside } from "../files/temporaries";
import { readCheckpoint } from "./checkpoint-read";
import { FOLDERS, weightFiles } from "./checkpoint-types";
import { modelPath } from "./model-path";
import { foreignFiles } from "./saved-model";
import { weightFilesBelow } from "./weight-files-below";

/** Far more than a key, a manifest or a config takes. */
const SMALL_BYTES = 2 ** 20;

/** Options of `reserveOutputFolder`. */
export interface ReserveOptions {
  /** The model that the output comes from, as `StableDiffusion.load` takes it. */
  source: string;
  /** What its network predicts, where a single file does not say. */
  prediction?: "epsilon" | "v";
  /** The output holds all of its weights, not only what changed. Default true. */
  whole?: boolean;
  /** A saved model that stands there may be replaced. Default false. */
  force?: boolean;
  /** Small files that are written along, such as a key. Default: none. */
  files?: readonly string[];
}

/** A place that no other run writes to until it is released. */
export interface Reservation {
  /** Gives the place back, and removes what was made for it and is still empty. */
  release(): Promise<void>;
}

/**
 * Keeps the place of an output for a run, and makes sure of rights and room there, before hours of work are spent on it.
 * @throws OUTPUT_NOT_EMPTY when something is there, or another run has the place; NO_SPACE, NOT_FOUND, IO_ERROR
 */
export async function reserveOutputFolder(path: string, options: ReserveOptions): Promise<Reservation> {
  const { force = false, files = [] } = options;
  return await onDisk("write", path, async () => {
    const target = await throughLink(path);
    const parent = dirname(target);
    const made = await makeFolder(parent);
    const undo = [() => removeEmpty(parent, made)];
    const release = async (): Promise<void> => {
      for (const step of undo.splice(0).reverse()) await step();
    };
    try {
      await tidyBeside(target);
      await checkTarget(target, { force, foreign: foreignFiles });
      const lock = await tryLock(join(parent, `.kpop-${nameHash(target)}.lock`));
      if (typeof lock === "string") {
        throw new KpopError(
          "OUTPUT_NOT_EMPTY",
          `Another run is to write ${path} (${lock}); choose another folder`,
        );
      }
      undo.push(() => lock.release());
      for (const file of files) await tryWriting(file);
      const small = files.map((file) => ({ folder: dirname(resolve(file)), bytes: SMALL_BYTES }));
      const bytes = SMALL_BYTES + (options.whole === false ? 0 : await sizeOf(options));
      await checkSpace(path, [{ folder: parent, bytes }, ...small]);
      return { release };
    } catch (error) {
      await release();
      throw error;
    }
  });
}

async function tryWriting(path: string): Promise<void> {
  await onDisk("write", path, async () => {
    const probe = temporaryBeside(await throughLink(path));
    await (await open(probe, "wx")).close();
    await rm(probe);
  });
}

/** Bytes of a checkpoint's weights and of the other parts that are saved with them; 0 for what cannot be read, which
 *  loading it says. */
async function sizeOf({ source, prediction }: ReserveOptions): Promise<number> {
  const told = prediction === undefined ? {} : { prediction };
  const checkpoint = await readCheckpoint(modelPath(source), told).catch(() => null);
  if (checkpoint === null) return 0;
  let bytes = weightFiles(checkpoint).reduce((sum, { stamp }) => sum + stamp.size, 0);
  const networks = new Set<string>(Object.values(FOLDERS));
  for (const [part, value] of Object.entries(checkpoint.modelIndex ?? {})) {
    if (!Array.isArray(value) || networks.has(part) || !/^[\w-]+$/.test(part)) continue;
    for (const file of await weightFilesBelow(join(checkpoint.path, part)).catch(() => []))
      bytes += (await stat(file)).size;
  }
  return bytes;
}

/** @param made the uppermost folder that was made on the way to `folder` */
async function removeEmpty(folder: string, made: string | undefined): Promise<void> {
  if (made === undefined) return;
  for (let at = folder; at.length >= made.length; at = dirname(at)) {
    const removed = await rmdir(at).then(
      () => true,
      () => false,
    );
    if (!removed) return;
  }
}

import { existsSync } from "node:fs";
import { readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { knownKeys, nonEmptyString, oneOf } from "../../check";
import { KpopError } from "../../errors";
import { runtimeCache } from "../cache-directory";
import { inspectLibtorch } from "../libtorch-directory";
import { TORCH_VERSION } from "../torch-version";
import { lockOf, onCache, removeLeftovers, runtimesInCache, workFolderOf } from "./cache-access";
import { withLock } from "../../files/lock";
import { readRuntimeRecord, resizedFiles } from "./record";

/** A libtorch in the user's cache folder, as `listRuntimes` finds it. */
export interface CachedRuntime {
  /** The folder that holds it and its record. */
  directory: string;
  version: string;
  flavour: "cpu" | "cuda";
  /** On disk. */
  bytes: number;
  /** What is wrong with it; null when it looks whole. Lengths and headers only: `doctor` reads every byte. */
  fault: string | null;
  /** Whether it is of the version that this release of kpop-native installs. */
  current: boolean;
}

/** Which runtimes `removeRuntimes` removes; default: all. */
export interface RemoveRuntimesOptions {
  /** Only this release of libtorch, such as "2.12.0". */
  version?: string;
  flavour?: "cpu" | "cuda";
  signal?: AbortSignal;
  /** Called when a process that installs the same one has to be waited for. */
  onWait?: (holder: string) => void;
}

/** The runtimes that `installRuntime` installed, of this and other releases. @throws IO_ERROR */
export async function listRuntimes(): Promise<CachedRuntime[]> {
  return await onCache("read", async () => {
    const found = await runtimesInCache();
    return await Promise.all(
      found.map(async (each) => ({
        ...each,
        bytes: await sizeOf(each.directory),
        fault: runtimeFault(each.directory),
        current: each.version === TORCH_VERSION,
      })),
    );
  });
}

/**
 * Removes installed runtimes, and what interrupted installations of them left. A process that has one loaded goes on.
 * @returns those removed
 * @throws INVALID_ARGUMENT; NOT_FOUND when `version` or `flavour` is given and nothing like that is installed;
 *   IO_ERROR; ABORTED
 */
export async function removeRuntimes(options: RemoveRuntimesOptions = {}): Promise<CachedRuntime[]> {
  knownKeys("removeRuntimes options", options, ["version", "flavour", "signal", "onWait"]);
  const { version, flavour } = options;
  if (version !== undefined) nonEmptyString("version", version);
  if (flavour !== undefined) oneOf("flavour", flavour, ["cpu", "cuda"]);
  const isChosen = (each: { version: string; flavour: string }): boolean =>
    (version === undefined || each.version === version) &&
    (flavour === undefined || each.flavour === flavour);
  const installed = await listRuntimes();
  const removed = installed.filter(isChosen);
  await onCache("remove from", async () => {
    const places = (await runtimesInCache({ leftovers: true })).filter(isChosen);
    if (places.length === 0 && (version ?? flavour) !== undefined) throw notInstalled(options, installed);
    for (const { directory } of places) await remove(directory, options);
  });
  return removed;
}

async function remove(directory: string, options: RemoveRuntimesOptions): Promise<void> {
  const work = async (): Promise<void> => {
    // Under a working folder's name first, so that half of it is never found.
    if (existsSync(directory)) await rename(directory, workFolderOf(directory));
    await removeLeftovers(directory);
  };
  await withLock(lockOf(directory), work, options);
}

function notInstalled(
  { version, flavour }: RemoveRuntimesOptions,
  installed: readonly CachedRuntime[],
): KpopError {
  const wish = [...(version ? [version] : []), ...(flavour ? [`(${flavour})`] : [])].join(" ");
  const there = installed.map((each) => `${each.version} (${each.flavour})`).join(", ");
  return new KpopError(
    "NOT_FOUND",
    `No runtime ${wish} is installed in ${runtimeCache()}; ${there === "" ? "nothing is" : `there is ${there}`}`,
  );
}

/** Why an installed runtime cannot be used, as far as that shows without reading it; null when it looks whole. */
export function runtimeFault(directory: string): string | null {
  const record = readRuntimeRecord(directory);
  if (record === null) return "its record is missing or damaged";
  const resized = resizedFiles(directory, record);
  if (resized.length > 0) return `missing or of another length: ${resized.join(", ")}`;
  try {
    inspectLibtorch(join(directory, "torch"));
    return null;
  } catch (error) {
    if (error instanceof KpopError) return error.message;
    throw error;
  }
}

async function sizeOf(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}

import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { knownKeys, nonEmptyString, oneOf } from "../../check";
import { KpopError, throwIfAborted } from "../../errors";
import { runtimeCache, runtimeDirectory } from "../cache-directory";
import { withLock } from "./lock";
import { inspectLibtorch } from "../libtorch-directory";
import { cudaOffered, downloadWheels } from "./pip";
import { hashFile, readRuntimeRecord, resizedFiles, writeRuntimeRecord } from "./record";
import { TORCH_VERSION } from "../torch-version";
import { unpackLibtorch } from "./unpack";

/** Options of `installRuntime`. */
export interface InstallRuntimeOptions {
  /** Default "cpu". "cuda" brings several GB of CUDA libraries. */
  flavour?: "cpu" | "cuda";
  /** A torch wheel or libtorch archive on disk, in the place of a download. */
  from?: string;
  /** A package index in the place of pip's own; default: KPOP_TORCH_INDEX_URL, else pip's configuration. */
  indexUrl?: string;
  /** Install again even if it is there; default false. */
  force?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: InstallProgress) => void;
}

/** A step of an installation, as it goes on. */
export interface InstallProgress {
  phase: "wait" | "download" | "unpack" | "check";
  /** One line for people. */
  message: string;
  /** Bytes, where they are known. */
  done?: number;
  total?: number;
}

/** The libtorch that `installRuntime` installed or found installed. */
export interface InstalledRuntime {
  /** The libtorch: a folder with lib/ and include/. */
  directory: string;
  version: string;
  flavour: "cpu" | "cuda";
  /** False when it was there already. */
  installed: boolean;
  /** What it was unpacked from, with SHA-256. */
  archives: { name: string; sha256: string }[];
}

const SPACE_BYTES = { cpu: 1.5 * 2 ** 30, cuda: 14 * 2 ** 30 };

/**
 * Puts the pinned libtorch into the user's cache folder (XDG_CACHE_HOME/kpop-native/runtime), where it is found from
 * then on. It appears there whole or not at all; processes that install the same one wait for each other.
 * @throws INVALID_ARGUMENT; LIBTORCH_MISSING when pip cannot give it; LIBTORCH_INCOMPATIBLE when the archive holds
 *   another version or flavour; NO_SPACE; IO_ERROR; ABORTED
 */
export async function installRuntime(options: InstallRuntimeOptions = {}): Promise<InstalledRuntime> {
  knownKeys("installRuntime options", options, [
    "flavour",
    "from",
    "indexUrl",
    "force",
    "signal",
    "onProgress",
  ]);
  const flavour = oneOf("flavour", options.flavour ?? "cpu", ["cpu", "cuda"]);
  if (options.from !== undefined && !existsSync(nonEmptyString("from", options.from))) {
    throw new KpopError("NOT_FOUND", `The archive ${options.from} does not exist`);
  }
  const target = runtimeDirectory(TORCH_VERSION, flavour);
  const standing = options.force ? null : installedAt(target);
  if (standing !== null) return standing;
  return await withLock(
    join(runtimeCache(), `.${basename(target)}.lock`),
    async () => (options.force ? null : installedAt(target)) ?? (await install(target, flavour, options)),
    {
      signal: options.signal,
      onWait: (holder) =>
        options.onProgress?.({ phase: "wait", message: `waiting for ${holder}, which installs it` }),
    },
  );
}

function installedAt(target: string): InstalledRuntime | null {
  const record = readRuntimeRecord(target);
  if (record === null || resizedFiles(target, record).length > 0) return null;
  const { version, flavour, archives } = record;
  return { directory: join(target, "torch"), version, flavour, installed: false, archives };
}

async function install(
  target: string,
  flavour: "cpu" | "cuda",
  options: InstallRuntimeOptions,
): Promise<InstalledRuntime> {
  const { signal, onProgress } = options;
  const work = await freshFolder(target);
  try {
    await checkSpace(work, flavour);
    const sources =
      options.from !== undefined
        ? [options.from]
        : await downloadWheels(join(work, "wheels"), {
            version: TORCH_VERSION,
            flavour,
            indexUrl: options.indexUrl,
            signal,
            onProgress: (message, done, total) =>
              onProgress?.({ phase: "download", message, ...(total && { done: done ?? 0, total }) }),
          });
    const unpacked = join(work, "unpacked");
    const archives: InstalledRuntime["archives"] = [];
    for (const source of sources) {
      const name = basename(source);
      onProgress?.({ phase: "check", message: `checksum of ${name}` });
      archives.push({ name, sha256: await hashFile(source) });
      await unpackLibtorch(source, unpacked, {
        signal,
        onProgress: (done, total) =>
          onProgress?.({ phase: "unpack", message: `unpacking ${name}`, done, total }),
      });
    }
    onProgress?.({ phase: "check", message: "checking the libraries" });
    checkUnpacked(join(unpacked, "torch"), flavour, options.from);
    await writeRuntimeRecord(unpacked, { version: TORCH_VERSION, flavour, archives });
    throwIfAborted(signal);
    await exchange(unpacked, target, join(work, "old"));
    return { directory: join(target, "torch"), version: TORCH_VERSION, flavour, installed: true, archives };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A working folder beside the target; what killed installations of the same runtime left is removed. */
async function freshFolder(target: string): Promise<string> {
  const cache = runtimeCache();
  const prefix = `.${basename(target)}.installing-`;
  for (const name of await readdir(cache)) {
    if (name.startsWith(prefix)) await rm(join(cache, name), { recursive: true, force: true });
  }
  const work = join(cache, `${prefix}${process.pid}`);
  await mkdir(work);
  return work;
}

async function checkSpace(folder: string, flavour: "cpu" | "cuda"): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= SPACE_BYTES[flavour]) return;
  const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
  throw new KpopError(
    "NO_SPACE",
    `Installing libtorch takes about ${gib(SPACE_BYTES[flavour])} GiB in ${runtimeCache()} but ${gib(free)} GiB are free; free some, or point XDG_CACHE_HOME at another disk`,
  );
}

function checkUnpacked(directory: string, flavour: "cpu" | "cuda", from: string | undefined): void {
  const libtorch = inspectLibtorch(directory);
  if (flavour === "cpu" && libtorch.flavour === "cuda") {
    throw from === undefined
      ? cudaOffered(TORCH_VERSION)
      : new KpopError("LIBTORCH_INCOMPATIBLE", `${from} is a CUDA build; install it with --cuda`);
  }
  if (flavour === "cuda" && libtorch.flavour === "cpu") {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `${from ?? "The wheel of torch"} is a CPU build, not a CUDA one`,
    );
  }
  if (libtorch.version !== TORCH_VERSION) {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `${from ?? "The wheel of torch"} holds libtorch ${libtorch.version ?? "of an unknown version"} but ${TORCH_VERSION} is needed`,
    );
  }
}

async function exchange(complete: string, target: string, aside: string): Promise<void> {
  if (existsSync(target)) await rename(target, aside);
  await rename(complete, target);
}

import { existsSync } from "node:fs";
import { mkdir, rename, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { filePath, invalid, knownKeys, oneOf } from "../../check";
import { KpopError, throwIfAborted } from "../../errors";
import { runtimeCache, runtimeDirectory } from "../cache-directory";
import { checkArchive } from "./archive";
import { lockOf, onCache, removeFolder, removeLeftovers, workFolderOf } from "./cache-access";
import { runtimeFault } from "./installed-runtimes";
import { withLock } from "../../files/lock";
import { pythonLibtorch } from "../libtorch";
import { inspectLibtorch } from "../libtorch-directory";
import { checkPlatform } from "../platform";
import { cudaOffered, downloadWheels } from "./pip";
import { hashFile, readRuntimeRecord, writeRuntimeRecord } from "./record";
import { TORCH_VERSION } from "../torch-version";
import { unpackLibtorch } from "./unpack";

/** Options of `installRuntime`. */
export interface InstallRuntimeOptions {
  /** "cuda" brings several GB of CUDA libraries. Default "cpu"; without it, either of the active Python's will do. */
  flavour?: "cpu" | "cuda";
  /** A torch wheel or libtorch archive on disk, in the place of a download. */
  from?: string;
  /** The SHA-256 that the torch wheel or archive must have, as 64 hexadecimal digits; default: any. */
  sha256?: string;
  /** A package index in the place of pip's own; default: KPOP_TORCH_INDEX_URL, else pip's configuration. */
  indexUrl?: string;
  /** Install even if it is there, or the active Python has it; default false. */
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

/** The libtorch that `installRuntime` installed or found. */
export interface InstalledRuntime {
  /** The libtorch: a folder with lib/ and include/. */
  directory: string;
  version: string;
  flavour: "cpu" | "cuda";
  /** "python" when the active Python's torch fits and is used as it is. */
  source: "runtime" | "python";
  /** False when it was there already. */
  installed: boolean;
  /** What it was unpacked from, with SHA-256; none for the active Python's. */
  archives: { name: string; sha256: string }[];
}

const SPACE_BYTES = { cpu: 1.5 * 2 ** 30, cuda: 14 * 2 ** 30 };

/**
 * Puts the pinned libtorch into the user's cache folder (XDG_CACHE_HOME/kpop-native/runtime), where it is found from
 * then on. It appears there whole or not at all: an interrupted installation starts anew the next time, and processes
 * that install the same one wait for each other. Where the active Python has a torch of that version and flavour,
 * nothing is installed unless `force`, `from`, `sha256` or `indexUrl` asks for it.
 * @throws INVALID_ARGUMENT; ADDON_MISSING on a platform without one; NOT_FOUND; LIBTORCH_MISSING when pip cannot give
 *   it; LIBTORCH_INCOMPATIBLE when the archive holds another version or flavour; IO_ERROR when it is damaged or the
 *   cache folder cannot be written; UNSUPPORTED_FORMAT; NO_SPACE; ABORTED
 */
export async function installRuntime(options: InstallRuntimeOptions = {}): Promise<InstalledRuntime> {
  const keys = ["flavour", "from", "sha256", "indexUrl", "force", "signal", "onProgress"];
  knownKeys("installRuntime options", options, keys);
  const flavour = oneOf("flavour", options.flavour ?? "cpu", ["cpu", "cuda"]);
  if (options.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(options.sha256)) {
    throw invalid("sha256", "64 hexadecimal digits", options.sha256);
  }
  if (options.from !== undefined) await checkArchive(filePath("from", options.from));
  checkPlatform();
  const target = runtimeDirectory(TORCH_VERSION, flavour);
  const standing = options.force ? null : (installedAt(target) ?? fittingPython(options));
  if (standing !== null) return standing;
  return await onCache(
    "install into",
    async () =>
      await withLock(
        lockOf(target),
        async () => (options.force ? null : installedAt(target)) ?? (await install(target, flavour, options)),
        {
          signal: options.signal,
          onWait: (holder) =>
            options.onProgress?.({ phase: "wait", message: `waiting for ${holder}, which installs it` }),
        },
      ),
  );
}

function installedAt(target: string): InstalledRuntime | null {
  const record = readRuntimeRecord(target);
  if (record === null || runtimeFault(target) !== null) return null;
  const { version, flavour, archives } = record;
  const directory = join(target, "torch");
  return { directory, version, flavour, source: "runtime", installed: false, archives };
}

function fittingPython({ flavour, from, sha256, indexUrl }: InstallRuntimeOptions): InstalledRuntime | null {
  if (from !== undefined || sha256 !== undefined || indexUrl !== undefined) return null;
  const found = pythonLibtorch();
  if (found === null || (flavour !== undefined && found.flavour !== flavour)) return null;
  const { directory } = found;
  return {
    directory,
    version: TORCH_VERSION,
    flavour: found.flavour,
    source: "python",
    installed: false,
    archives: [],
  };
}

async function install(
  target: string,
  flavour: "cpu" | "cuda",
  options: InstallRuntimeOptions,
): Promise<InstalledRuntime> {
  const { signal, onProgress } = options;
  await removeLeftovers(target);
  const work = workFolderOf(target);
  await mkdir(work);
  try {
    await checkSpace(work, flavour);
    const sources =
      options.from !== undefined
        ? [options.from]
        : await downloadWheels(join(work, "wheels"), {
            version: TORCH_VERSION,
            flavour,
            indexUrl: options.indexUrl,
            temporary: join(work, "temporary"),
            signal,
            onProgress: (message, done, total) =>
              onProgress?.({ phase: "download", message, ...(total && { done: done ?? 0, total }) }),
          });
    const unpacked = join(work, "unpacked");
    const archives: InstalledRuntime["archives"] = [];
    for (const source of sources) {
      const name = basename(source);
      onProgress?.({ phase: "check", message: `checksum of ${name}` });
      const sha256 = await hashFile(source);
      if (options.from !== undefined || name.startsWith("torch-")) checkSum(source, sha256, options.sha256);
      archives.push({ name, sha256 });
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
    const directory = join(target, "torch");
    return { directory, version: TORCH_VERSION, flavour, source: "runtime", installed: true, archives };
  } finally {
    await removeFolder(work);
  }
}

function checkSum(archive: string, found: string, expected: string | undefined): void {
  if (expected === undefined || found === expected.toLowerCase()) return;
  throw new KpopError(
    "IO_ERROR",
    `${archive} is refused: its SHA-256 is ${found} but ${expected.toLowerCase()} was expected; it is damaged or not the one that is meant, get it again`,
  );
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
  const stood = existsSync(target);
  if (stood) await rename(target, aside);
  try {
    await rename(complete, target);
  } catch (error) {
    if (stood) await rename(aside, target);
    throw error;
  }
}

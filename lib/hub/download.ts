import { dirname, join } from "node:path";
import { KpopError, throwIfAborted } from "../errors";
import { forEachLimited } from "../files/for-each-limited";
import { checkSpace } from "../files/free-space";
import { withLock } from "../files/lock";
import { makeFolder } from "../files/make-folder";
import { onDisk } from "../files/system-error";
import { openHub, type Hub } from "./hub";
import { CachedRepository, checkRemote } from "./hub-cache";
import { hubFetch, unreachable } from "./hub-fetch";
import { formatHubName, type HubName } from "./hub-name";
import { transfer, type RemoteFile } from "./transfer";

/** How far a download is. */
export interface DownloadProgress {
  /** The file that has just moved on, in its repository. */
  file: string;
  /** Bytes of all wanted files that are there, and of all of them. */
  bytes: number;
  totalBytes: number;
}

export interface SnapshotOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/** Which of a repository's files are wanted, for the name's path in it. @throws where what is named is not among them */
export type Choice = (files: readonly string[]) => readonly string[];

const PARALLEL_FILES = 4;

/**
 * Brings files of a repository into the hub's cache, those that are missing there.
 * @returns where the named folder or file lies in the cache
 * @throws PACKAGE_MISSING; ACCESS_DENIED; NOT_FOUND, offline too where the cache has nothing; NETWORK_ERROR; IO_ERROR,
 *   NO_SPACE, ABORTED
 */
export async function snapshot(
  name: HubName,
  choose: Choice,
  options: SnapshotOptions = {},
): Promise<string> {
  throwIfAborted(options.signal);
  const hub = await openHub();
  if (hub.offline) {
    const found = await fromCache(hub, name, choose);
    if (found !== null) return found;
    throw new KpopError(
      "NOT_FOUND",
      `${formatHubName(name)} is not in ${hub.cache}, and HF_HUB_OFFLINE forbids to ask for it; download it once without that`,
    );
  }
  const remote = await look(hub, name, options.signal).catch(async (thrown: unknown) => {
    throwIfAborted(options.signal);
    // Where an answer breaks off, or is a login page of the network, the library throws what it has.
    const error = thrown instanceof KpopError ? thrown : unreachable(hub, thrown);
    const found = error.code === "NETWORK_ERROR" ? await fromCache(hub, name, choose) : null;
    if (found === null) throw error;
    const words = `${hub.endpoint} does not answer; going on with ${found}, as it was downloaded before`;
    process.emitWarning(words, { code: "KPOP_HUB_UNREACHABLE" });
    return found;
  });
  if (typeof remote === "string") return remote;
  const { commit, files } = remote;
  const wanted = choose(files.map(({ path }) => path));
  const cached = new CachedRepository(hub, name);
  await onDisk("write", cached.root, () =>
    fetchAll(
      hub,
      name,
      files.filter(({ path }) => wanted.includes(path)),
      { cached, commit, ...options },
    ),
  );
  await cached.rememberCommit(name.revision, commit);
  return cached.snapshot(commit, name.path);
}

/** The place of what was downloaded before; null where it was not. */
async function fromCache(hub: Hub, name: HubName, choose: Choice): Promise<string | null> {
  const cached = new CachedRepository(hub, name);
  const commit = await cached.commitOf(name.revision);
  if (commit === null) return null;
  const files = await cached.filesOf(commit);
  try {
    choose(files);
  } catch (error) {
    // There may be more of it than was downloaded.
    if (error instanceof KpopError && error.code === "NOT_FOUND") return null;
    throw error;
  }
  return cached.snapshot(commit, name.path);
}

interface Remote {
  commit: string;
  files: readonly RemoteFile[];
}

/** What the revision is now, and the files that it has at the path, or beside it where that is a file. */
async function look(hub: Hub, name: HubName, signal: AbortSignal | undefined): Promise<Remote> {
  const { library, endpoint } = hub;
  const { repository, revision, path } = name;
  const fetch = hubFetch(hub, name, signal);
  const shared = { hubUrl: endpoint, fetch };
  const { sha } = await library.modelInfo({
    name: repository,
    revision,
    additionalFields: ["sha"],
    ...shared,
  });
  checkRemote(name, sha, []);
  const isFile = /\.\w+$/.test(path) && !path.endsWith("/");
  const folder = isFile ? dirname(path).replace(/^\.$/, "") : path;
  const entries = library.listFiles({
    repo: { type: "model", name: repository },
    revision: sha,
    recursive: true,
    ...(folder === "" ? {} : { path: encodePath(folder) }),
    ...shared,
  });
  const files: RemoteFile[] = [];
  for await (const { type, path: file, size, oid, lfs } of entries) {
    if (type !== "file") continue;
    checkRemote(name, sha, [file]);
    const hash = lfs?.oid ?? oid ?? "";
    if (!/^[0-9a-f]{40}$|^[0-9a-f]{64}$/.test(hash) || !Number.isSafeInteger(size) || size < 0)
      throw new KpopError("IO_ERROR", `${endpoint} gives no size and hash for ${repository}/${file}`);
    const url = `${endpoint}/${repository}/resolve/${sha}/${encodePath(file)}`;
    files.push({ path: file, url, size, hash });
  }
  return { commit: sha, files };
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

interface Place extends SnapshotOptions {
  cached: CachedRepository;
  commit: string;
}

async function fetchAll(
  hub: Hub,
  name: HubName,
  files: readonly RemoteFile[],
  { cached, commit, signal, onProgress }: Place,
): Promise<void> {
  const missing: RemoteFile[] = [];
  for (const file of files)
    if (!(await cached.holds(cached.snapshot(commit, file.path), file.size))) missing.push(file);
  if (missing.length === 0) return;
  for (const folder of [cached.blobs, cached.locks]) await makeFolder(folder);
  const bytes = missing.reduce((sum, { size }) => sum + size, 0);
  await checkSpace(formatHubName(name), [{ folder: cached.root, bytes }]);
  const failed = new AbortController();
  const cancel = AbortSignal.any([failed.signal, ...(signal === undefined ? [] : [signal])]);
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  const there = new Map(files.map((file) => [file.path, missing.includes(file) ? 0 : file.size]));
  await forEachLimited(missing, PARALLEL_FILES, async (file) => {
    try {
      const { path, hash } = file;
      const blob = join(cached.blobs, hash);
      const onBytes = (arrived: number): void => {
        there.set(path, arrived);
        const all = [...there.values()].reduce((sum, one) => sum + one, 0);
        onProgress?.({ file: path, bytes: all, totalBytes });
      };
      await withLock(
        join(cached.locks, `${hash}.kpop.lock`),
        async () => {
          if (await cached.holds(blob, file.size)) onBytes(file.size);
          else
            await transfer(file, blob, {
              fetch: hubFetch(hub, { ...name, path }, cancel),
              signal: cancel,
              onBytes,
            });
          await cached.place(commit, path, hash);
        },
        { signal: cancel },
      );
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
}

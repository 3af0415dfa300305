import { readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../errors";
import { describeHolder, stateOf, thisHolder } from "./lock-holder";
import type { LockHolder } from "./lock-holder";
import { makeFolderAsTold } from "./make-folder";

const HEARTBEAT_MS = 5_000;
/** A lock that has not been touched for this long belongs to a process that is gone. */
const STALE_MS = 30_000;
const POLL_MS = 300;

export interface LockOptions {
  signal?: AbortSignal | undefined;
  /** Called once, when another process holds the lock. */
  onWait?: (holder: string) => void;
}

/**
 * Runs `work` while no other process runs one under the same lock file. What a killed process left is taken over: at
 * once where its process can be seen to be gone, else (another machine, another container) when the heartbeat that a
 * holder gives its file has stopped for half a minute.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  await makeFolderAsTold(dirname(path));
  for (let waited = false; ; waited = true) {
    const lock = await tryLock(path);
    if (typeof lock !== "string") {
      try {
        return await work();
      } finally {
        await lock.release();
      }
    }
    throwIfAborted(options.signal);
    if (!waited) options.onWait?.(lock);
    await sleep(POLL_MS);
  }
}

/** A lock that is held. */
export interface Lock {
  release(): Promise<void>;
}

/** Takes a lock without waiting; its folder has to be there. @returns who holds it where another process does */
export async function tryLock(path: string): Promise<Lock | string> {
  const own = thisHolder();
  while (!(await create(path, own))) {
    if (!(await isStale(path))) return describeHolder(await read(path));
    await discard(path, own);
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  return {
    async release() {
      clearInterval(heartbeat);
      // One that was suspended past its heartbeat may have lost the lock to another.
      if ((await read(path))?.token === own.token) await rm(path, { force: true });
    },
  };
}

/** Removes a lock whose holder is gone. */
export async function removeStaleLock(path: string): Promise<void> {
  if (await isStale(path)) await discard(path, thisHolder());
}

/** Removes what the death of an earlier holder left; it may be called again at any time. */
async function discard(path: string, own: LockHolder): Promise<void> {
  // Of several processes that find a lock stale, the second to remove it would remove the first one's new lock. So
  // they take turns under a second file, and look again.
  const turn = `${path}.turn`;
  if (!(await create(turn, own))) {
    if (await isStale(turn)) await rm(turn, { force: true });
    else await sleep(POLL_MS);
    return;
  }
  try {
    if (await isStale(path)) await rm(path, { force: true });
  } finally {
    await rm(turn, { force: true });
  }
}

async function create(path: string, holder: LockHolder): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(holder), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function isStale(path: string): Promise<boolean> {
  const holder = await read(path);
  const state = holder === null ? "unseen" : stateOf(holder);
  if (state !== "unseen") return state === "gone";
  const touched = await stat(path).catch(() => null);
  return touched !== null && Date.now() - touched.mtimeMs > STALE_MS;
}

/** Null when there is no lock, or its holder has not written its name yet. */
async function read(path: string): Promise<LockHolder | null> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as LockHolder;
  } catch {
    return null;
  }
}

import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../../errors";

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
 * Runs `work` while no other process runs one under the same lock file. The holder keeps touching the file, so that a
 * lock left by a killed process, even one of another container, is taken over.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  let waited = false;
  while (!(await acquire(path))) {
    throwIfAborted(options.signal);
    if (await isStale(path)) {
      await discard(path);
      continue;
    }
    if (!waited) options.onWait?.(await holderOf(path));
    waited = true;
    await sleep(POLL_MS);
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await rm(path, { force: true });
  }
}

async function acquire(path: string): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify({ pid: process.pid, host: hostname() }), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function isStale(path: string): Promise<boolean> {
  const touched = await stat(path).then(
    (found) => found.mtimeMs,
    () => null,
  );
  if (touched === null) return false;
  if (Date.now() - touched > STALE_MS) return true;
  const { pid, host } = await read(path);
  return host === hostname() && pid !== undefined && !isAlive(pid);
}

/** Renamed before it is removed, so that of two processes that find it stale only one does so. */
async function discard(path: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale`;
  await rename(path, aside).catch(() => undefined);
  await rm(aside, { force: true });
}

async function holderOf(path: string): Promise<string> {
  const { pid, host } = await read(path);
  return pid === undefined ? "another process" : `process ${pid} on ${host}`;
}

async function read(path: string): Promise<{ pid?: number; host?: string }> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as { pid?: number; host?: string };
  } catch {
    return {};
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

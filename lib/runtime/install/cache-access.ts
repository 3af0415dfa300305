import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KpopError } from "../../errors";
import { runtimeCache } from "../cache-directory";

/** Where processes that change the runtime `target` take turns. */
export function lockOf(target: string): string {
  return hidden(target, "lock");
}

/** A folder beside `target`, for what is not whole yet or no longer. Only the holder of `lockOf(target)` may use it. */
export function workFolderOf(target: string): string {
  return hidden(target, `work-${process.pid}`);
}

/** Removes the working folders of processes that were killed; for the holder of `lockOf(target)`. */
export async function removeLeftovers(target: string): Promise<void> {
  const cache = dirname(target);
  for (const name of existsSync(cache) ? await readdir(cache) : []) {
    if (name.startsWith(basename(hidden(target, "work-")))) await removeFolder(join(cache, name));
  }
}

/** Retried, because a download of a killed process may still write for a moment. */
export async function removeFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

const RUNTIME_NAME = /^(torch-(\d+\.\d+\.\d+)-(cpu|cuda))$/;

/** The runtimes in the cache folder by path; with `leftovers`, those too of which only working folders are there. */
export async function runtimesInCache(
  { leftovers }: { leftovers: boolean } = { leftovers: false },
): Promise<{ directory: string; version: string; flavour: "cpu" | "cuda" }[]> {
  const cache = runtimeCache();
  const names = existsSync(cache) ? await readdir(cache) : [];
  const bare = leftovers ? names.map((name) => /^\.(.*)\.work-\d+$/.exec(name)?.[1] ?? name) : names;
  return [...new Set(bare)].sort().flatMap((name) => {
    const [, , version, flavour] = RUNTIME_NAME.exec(name) ?? [];
    if (version === undefined) return [];
    return [{ directory: join(cache, name), version, flavour: flavour as "cpu" | "cuda" }];
  });
}

/** Runs `work`; what the file system refuses comes out as a `KpopError` that names the cache folder. */
export async function onCache<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof KpopError || typeof (error as NodeJS.ErrnoException).syscall !== "string")
      throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const isFull = code === "ENOSPC" || code === "EDQUOT";
    throw new KpopError(
      isFull ? "NO_SPACE" : "IO_ERROR",
      `Cannot ${doing} the runtime folder ${runtimeCache()} (${message}); ${
        isFull ? "free some space" : "mend its permissions"
      }, or point XDG_CACHE_HOME at another folder`,
      { cause: error },
    );
  }
}

function hidden(target: string, suffix: string): string {
  return join(dirname(target), `.${basename(target)}.${suffix}`);
}

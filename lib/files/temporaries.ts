import { createHash, randomBytes } from "node:crypto";
import { lstat, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { removeStaleLock } from "./lock";
import { stateOfMark, thisMark } from "./lock-holder";

/** One whose process cannot be seen from here (another machine, an earlier boot) is left for this long. */
const UNSEEN_MS = 24 * 60 * 60 * 1000;
const TEMPORARY = /^\.kpop-(\d+-(?:\d+|x)-[0-9a-f]{8})-[0-9a-f]{16}\.tmp$/;
const LOCK = /^\.kpop-[0-9a-f]{16}\.lock$/;
const SET_ASIDE = /^\.kpop-(\d+-(?:\d+|x)-[0-9a-f]{8})-[0-9a-f]{16}\.old$/;

/** A name beside `path` for what is not complete, so that the rename stays within one file system. It is short, so that
 *  it is never too long, and holds the process, so that another one can tell when nobody owns it any more. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.kpop-${thisMark()}-${randomBytes(8).toString("hex")}.tmp`);
}

/** A name beside `path` for what stood there, while something new takes its place. */
export function asideName(path: string): string {
  return join(dirname(path), `.kpop-${thisMark()}-${nameHash(path)}.old`);
}

/** 16 hexadecimal digits for the last part of a path. */
export function nameHash(path: string): string {
  return createHash("sha256").update(basename(path)).digest("hex").slice(0, 16);
}

/** Removes the temporaries and locks of a folder that no living process owns. What cannot be removed stays: it is in nobody's way. */
export async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    if (LOCK.test(name)) await removeStaleLock(path).catch(() => undefined);
    const mark = TEMPORARY.exec(name)?.[1];
    if (mark === undefined) continue;
    const state = stateOfMark(mark);
    if (state === "alive" || (state === "unseen" && !(await isOld(path)))) continue;
    if (await isOwn(path)) await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Puts back what stood at `path` when a process was killed between setting it aside and putting the new in its place. */
export async function putBack(path: string): Promise<void> {
  if (await isThere(path)) return;
  const folder = dirname(path);
  for (const name of await readdir(folder).catch(() => [])) {
    const mark = SET_ASIDE.exec(name)?.[1];
    if (mark === undefined || !name.endsWith(`-${nameHash(path)}.old`) || stateOfMark(mark) === "alive")
      continue;
    return await rename(join(folder, name), path);
  }
}

/** In a folder that others write to as well, their files are not ours to remove. */
async function isOwn(path: string): Promise<boolean> {
  const user = process.getuid?.();
  return lstat(path).then(
    ({ uid }) => user === undefined || uid === user,
    () => false,
  );
}

async function isOld(path: string): Promise<boolean> {
  const below = await readdir(path, { recursive: true }).catch(() => []);
  for (const one of [path, ...below.map((name) => join(path, name))]) {
    const changed = await lstat(one).catch(() => null);
    if (changed !== null && Date.now() - changed.mtimeMs < UNSEEN_MS) return false;
  }
  return true;
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

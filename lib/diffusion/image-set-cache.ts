import { readdir, rm, rmdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { finite, knownKeys, nonEmptyString } from "../check";
import { onDisk } from "../files/system-error";
import { cacheFolder } from "../runtime/cache-directory";
import { DESCRIPTION_FILE, MACHINE_FILE, PICTURE_FILE, SET_NAME } from "./image-set-files";

/** Which sets are meant. */
export interface PictureCacheOptions {
  /** A folder of sets. Default: the one in the user's cache folder, which is used where no other is named. */
  directory?: string;
  /** Only sets to which nothing was added for so many days. Default 0: all. */
  olderThanDays?: number;
}

/** The pictures that one model has drawn with one choice of options. */
export interface CachedPictures {
  /** Absolute path of the set's folder. */
  directory: string;
  pictures: number;
  bytes: number;
  /** When the last picture was added. */
  usedAt: Date;
}

const DAY_MS = 24 * 3600 * 1000;

/** Sets of pictures that were kept so as not to be made again, the oldest first. @throws INVALID_ARGUMENT, IO_ERROR */
export async function listCachedPictures(options: PictureCacheOptions = {}): Promise<CachedPictures[]> {
  return (await sets(options)).map(({ set }) => set);
}

/**
 * Removes sets of pictures. What stands in their folders beside pictures and what is told of them stays, and so do
 * folders of other names.
 * @returns the sets whose pictures are gone
 * @throws INVALID_ARGUMENT, IO_ERROR
 */
export async function removeCachedPictures(options: PictureCacheOptions = {}): Promise<CachedPictures[]> {
  const chosen = await sets(options);
  for (const { set, files } of chosen) {
    // The description goes last: a folder with pictures and without it would be taken for a damaged one.
    for (const path of files) await onDisk("remove", path, () => rm(path, { force: true }));
    await rm(join(set.directory, DESCRIPTION_FILE), { force: true });
    await rmdir(set.directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  }
  return chosen.map(({ set }) => set);
}

async function sets(options: PictureCacheOptions): Promise<{ set: CachedPictures; files: string[] }[]> {
  knownKeys("the picture cache options", options, ["directory", "olderThanDays"]);
  const root = resolve(nonEmptyString("directory", options.directory ?? join(cacheFolder(), "images")));
  const before = Date.now() - finite("olderThanDays", options.olderThanDays ?? 0, 0) * DAY_MS;
  const found: { set: CachedPictures; files: string[] }[] = [];
  for (const name of await entries(root)) {
    const directory = join(root, name);
    const names = SET_NAME.test(name) ? await entries(directory) : [];
    if (!names.includes(DESCRIPTION_FILE)) continue;
    const own = (pattern: RegExp): string[] =>
      names.filter((file) => pattern.test(file)).map((file) => join(directory, file));
    const [pictures, told] = [own(PICTURE_FILE), own(MACHINE_FILE)];
    const files = [...pictures, ...told];
    const stats = await Promise.all(
      [join(directory, DESCRIPTION_FILE), ...files].map((path) => stat(path).catch(() => null)),
    );
    const bytes = stats.reduce((sum, one) => sum + (one?.size ?? 0), 0);
    const usedAt = new Date(Math.max(...stats.map((one) => one?.mtimeMs ?? 0)));
    if (usedAt.getTime() <= before)
      found.push({ set: { directory, pictures: pictures.length, bytes, usedAt }, files });
  }
  return found.sort((a, b) => a.set.usedAt.getTime() - b.set.usedAt.getTime());
}

/** Names in a folder; none where it is not there, or is a file. */
async function entries(folder: string): Promise<string[]> {
  return await onDisk("read", folder, async () =>
    readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
      throw error;
    }),
  );
}

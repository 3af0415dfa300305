import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listCachedPictures, removeCachedPictures } from "../../../lib/diffusion/image-set-cache";
import { temporaryDirectory } from "../../support/temporary-directory";

const [OLD, NEW] = ["0".repeat(32), "1".repeat(32)] as const;
const MARK = "0123456789abcdef";

/** Two sets, one of 40 days and one of today, and a folder that is none. */
function cache(): string {
  const directory = join(temporaryDirectory(), "images");
  const write = (name: string, bytes: number): void => {
    const path = join(directory, name);
    writeFileSync(path, Buffer.alloc(bytes));
    if (!name.startsWith(OLD)) return;
    const then = Date.now() / 1000 - 40 * 24 * 3600;
    utimesSync(path, then, then);
  };
  for (const name of [OLD, NEW, "mine"]) mkdirSync(join(directory, name), { recursive: true });
  write(`${OLD}/set.json`, 10);
  write(`${OLD}/church-0-${MARK}.png`, 100);
  write(`${OLD}/church-1-${MARK}.png`, 200);
  write(`${OLD}/machine-${MARK}.json`, 7);
  write(`${NEW}/set.json`, 10);
  write(`${NEW}/dog-0-${MARK}.png`, 50);
  write(`${NEW}/notes.txt`, 1);
  write(`mine/church-0-${MARK}.png`, 1);
  return directory;
}

describe("the picture cache", () => {
  it("is listed by set, the oldest first", async () => {
    const directory = cache();
    const [old, recent, ...rest] = await listCachedPictures({ directory });
    expect(old).toMatchObject({ directory: join(directory, OLD), pictures: 2, bytes: 317 });
    expect(recent).toMatchObject({ directory: join(directory, NEW), pictures: 1, bytes: 60 });
    expect(rest).toEqual([]);
    const days = (Date.now() - old!.usedAt.getTime()) / (24 * 3600 * 1000);
    expect(days).toBeCloseTo(40, 1);
    expect(await listCachedPictures({ directory, olderThanDays: 39 })).toEqual([old]);
    expect(await listCachedPictures({ directory, olderThanDays: 41 })).toEqual([]);
    expect(await listCachedPictures({ directory: join(directory, "none") })).toEqual([]);
  });

  it("loses the sets that are meant, and nothing that is not its own", async () => {
    const directory = cache();
    expect((await removeCachedPictures({ directory, olderThanDays: 30 })).map(({ pictures }) => pictures)).toEqual([2]);
    expect(existsSync(join(directory, OLD))).toBe(false);
    expect(existsSync(join(directory, NEW, `dog-0-${MARK}.png`))).toBe(true);
    await removeCachedPictures({ directory });
    expect(existsSync(join(directory, NEW, `dog-0-${MARK}.png`))).toBe(false);
    expect(existsSync(join(directory, NEW, "notes.txt"))).toBe(true);
    expect(existsSync(join(directory, "mine", `church-0-${MARK}.png`))).toBe(true);
    expect(await listCachedPictures({ directory })).toEqual([]);
  }); // prettier-ignore

  it("refuses days below zero", async () => {
    await expect(listCachedPictures({ olderThanDays: -1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

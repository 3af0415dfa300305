import { createHash } from "node:crypto";
import { readFileSync, renameSync, utimesSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileHashes } from "../../../lib/files/file-hashes";
import { sha256File } from "../../../lib/files/sha256-file";
import { temporaryDirectory } from "../../support/temporary-directory";

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Writes a file, and lets the clock go on so that the write is no longer a fresh one. */
function written(content: string, path = join(temporaryDirectory(), "weights")): string {
  writeFileSync(path, content);
  return path;
}

function counting(capacity?: number) {
  const read = jest.fn(sha256File);
  return { read, hashes: new FileHashes(capacity, read) };
}

let now: jest.SpyInstance;
beforeEach(() => {
  const real = Date.now.bind(Date);
  now = jest.spyOn(Date, "now").mockImplementation(() => real() + 10_000);
});
afterEach(() => now.mockRestore());

describe("FileHashes", () => {
  it("reads a file once while it stays the same", async () => {
    const { read, hashes } = counting();
    const path = written("one");
    for (let i = 0; i < 3; i++) expect(await hashes.sha256(path)).toBe(sha256(path));
    expect(read).toHaveBeenCalledTimes(1);
  });

  it("reads a changed file anew, even of the same length and with the old time set back", async () => {
    const { hashes } = counting();
    const path = written("one");
    const { atime, mtime } = statSync(path);
    const before = await hashes.sha256(path);
    // Longer than the grain of the file system's clock, so that the inode's time differs.
    await new Promise((resolve) => setTimeout(resolve, 50));
    written("two", path);
    utimesSync(path, atime, mtime);
    expect(await hashes.sha256(path)).toBe(sha256(path));
    expect(await hashes.sha256(path)).not.toBe(before);
  });

  it("reads a file anew that another was renamed to", async () => {
    const { hashes } = counting();
    const path = written("one");
    await hashes.sha256(path);
    renameSync(written("two"), path);
    expect(await hashes.sha256(path)).toBe(sha256(path));
  });

  it("does not trust the times of a file that was written a moment ago", async () => {
    now.mockRestore();
    const { read, hashes } = counting();
    const path = written("one");
    await hashes.sha256(path);
    await hashes.sha256(path);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("does not remember a file that changes while it is read", async () => {
    const path = written("one");
    const read = jest.fn(async (each: string) => {
      const found = await sha256File(each);
      written("longer", each);
      return found;
    });
    const hashes = new FileHashes(8, read);
    await hashes.sha256(path);
    expect(await hashes.sha256(path)).toBe(createHash("sha256").update("longer").digest("hex"));
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("forgets the file not asked for the longest when there are too many", async () => {
    const { read, hashes } = counting(2);
    const [a, b, c] = [written("a"), written("b"), written("c")] as const;
    for (const path of [a, b, a, c, a]) await hashes.sha256(path);
    expect(read).toHaveBeenCalledTimes(3);
    await hashes.sha256(b);
    expect(read).toHaveBeenCalledTimes(4);
  });

  it("tells a missing file, and stops when asked though it knows the answer", async () => {
    const { hashes } = counting();
    await expect(hashes.sha256(join(temporaryDirectory(), "none"))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    const path = written("one");
    await hashes.sha256(path);
    await expect(hashes.sha256(path, AbortSignal.abort())).rejects.toMatchObject({ code: "ABORTED" });
  });
});

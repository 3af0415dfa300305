import fs from "node:fs/promises";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, makeFolderAsTold } from "../../../lib/files/make-folder";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("makeFolder", () => {
  afterEach(() => jest.restoreAllMocks());

  it("makes what is missing, and leaves what is there", async () => {
    const path = join(temporaryDirectory(), "a/b/c");
    expect(await makeFolder(path)).toBe(join(path, "../.."));
    expect(await makeFolder(path)).toBeUndefined();
    await Promise.all([1, 2, 3].map(() => makeFolder(join(path, "d/e"))));
    expect(statSync(join(path, "d/e")).isDirectory()).toBe(true);
  });

  it("leaves nothing of what it made where a step fails", async () => {
    const parent = temporaryDirectory();
    const path = join(parent, "a/b/c");
    const full = Object.assign(new Error("ENOSPC"), { code: "ENOSPC", syscall: "mkdir" });
    const { mkdir } = fs;
    jest.spyOn(fs, "mkdir").mockImplementation(async (folder, options) => {
      if (folder === path) throw full;
      return await mkdir(folder, options);
    });
    await expect(makeFolder(path)).rejects.toMatchObject({ code: "NO_SPACE" });
    expect(readdirSync(parent)).toEqual([]);
    await expect(makeFolderAsTold(path)).rejects.toBe(full);
  });

  it("says of a file in the way that it is one", async () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    await expect(makeFolder(file)).rejects.toMatchObject({
      code: "IO_ERROR",
      message: `Cannot write ${file}: ${file} is not a folder`,
    });
    await expect(makeFolder(join(file, "a"))).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("says of a read-only disk that it is one, and returns below /proc", async () => {
    const path = join(temporaryDirectory(), "a/b");
    const refused = Object.assign(new Error("EROFS"), { code: "EROFS", syscall: "mkdir" });
    jest.spyOn(fs, "mkdir").mockRejectedValueOnce(refused);
    await expect(makeFolder(path)).rejects.toMatchObject({
      code: "IO_ERROR",
      message: `Cannot write ${path}: the file system is read-only`,
    });
    await expect(makeFolder("/proc/kpop/a")).rejects.toMatchObject({
      code: "IO_ERROR",
      message: "Cannot write /proc/kpop/a: no folder can be made in /proc",
    });
  });
});

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeDirectoryAtomically, writeFileAtomically } from "../../../lib/files/atomic";
import { asideName, temporaryBeside } from "../../../lib/files/temporaries";
import { temporaryDirectory } from "../../support/temporary-directory";

const one = (folder: string) => writeFile(join(folder, "new"), "1");

/** A name as a process that has ended would have given it. */
function ofTheDead(path: string): string {
  const { pid } = spawnSync("true");
  return path.replace(`.kpop-${process.pid}-`, `.kpop-${pid}-`);
}

describe("writeFileAtomically", () => {
  it("writes text, bytes, and what a function writes", async () => {
    const path = join(temporaryDirectory(), "a");
    await writeFileAtomically(path, "text");
    expect(readFileSync(path, "utf8")).toBe("text");
    await writeFileAtomically(path, new Uint8Array([104, 105]));
    expect(readFileSync(path, "utf8")).toBe("hi");
    await writeFileAtomically(path, async (file) => void (await file.write("more")));
    expect(readFileSync(path, "utf8")).toBe("more");
  });

  it("shows the old content until the new one is complete", async () => {
    const path = join(temporaryDirectory(), "a");
    writeFileSync(path, "old");
    await writeFileAtomically(path, async (file) => {
      await file.write("new");
      expect(readFileSync(path, "utf8")).toBe("old");
    });
    expect(readFileSync(path, "utf8")).toBe("new");
  });

  it("removes the temporary file and keeps the old one when the disk is full", async () => {
    const folder = temporaryDirectory();
    const path = join(folder, "a");
    writeFileSync(path, "old");
    // The kernel's own full device: every write to it fails with ENOSPC.
    const full = () => writeFile("/dev/full", "x");
    await expect(writeFileAtomically(path, full)).rejects.toMatchObject({ code: "NO_SPACE" });
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(folder)).toEqual(["a"]);
  });
});

describe("writeDirectoryAtomically", () => {
  it("makes a new folder, and fills an empty one", async () => {
    const folder = temporaryDirectory();
    await writeDirectoryAtomically(join(folder, "deep", "a"), one);
    expect(readdirSync(join(folder, "deep"))).toEqual(["a"]);
    mkdirSync(join(folder, "empty"));
    await writeDirectoryAtomically(join(folder, "empty"), one);
    expect(readFileSync(join(folder, "empty", "new"), "utf8")).toBe("1");
  });

  it("refuses a folder with something in it, before any work", async () => {
    const folder = temporaryDirectory();
    writeFileSync(join(folder, "old"), "0");
    const fill = jest.fn(one);
    await expect(writeDirectoryAtomically(folder, fill)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    const picky = { force: true, foreign: () => Promise.resolve(["old"]) };
    await expect(writeDirectoryAtomically(folder, fill, picky)).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
      message: expect.stringContaining("no saved model: old.") as string,
    });
    const file = join(folder, "old");
    await expect(writeDirectoryAtomically(file, fill)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    expect(fill).not.toHaveBeenCalled();
  });

  it("replaces a folder under force, and leaves nothing beside it", async () => {
    const folder = temporaryDirectory();
    const target = join(folder, "a");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "0");
    await writeDirectoryAtomically(target, one, { force: true });
    expect(readdirSync(target)).toEqual(["new"]);
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  it("leaves the old folder as it was when filling the new one fails", async () => {
    const folder = temporaryDirectory();
    const target = join(folder, "a");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "0");
    const fill = async (temporary: string) => {
      await one(temporary);
      throw new Error("broken");
    };
    await expect(writeDirectoryAtomically(target, fill, { force: true })).rejects.toThrow("broken");
    expect(readdirSync(target)).toEqual(["old"]);
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  it("does not overwrite what came into the folder meanwhile", async () => {
    const target = join(temporaryDirectory(), "a");
    const fill = async (temporary: string) => {
      await one(temporary);
      mkdirSync(target);
      writeFileSync(join(target, "other"), "2");
    };
    await expect(writeDirectoryAtomically(target, fill)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    expect(existsSync(join(target, "other"))).toBe(true);
  });

  it("keeps what came into the folder under force while the new one was made", async () => {
    const target = join(temporaryDirectory(), "a");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "0");
    const foreign = (folder: string) =>
      Promise.resolve(readdirSync(folder).filter((name) => name === "notes.txt"));
    const fill = async (temporary: string) => {
      await one(temporary);
      writeFileSync(join(target, "notes.txt"), "2");
    };
    await expect(writeDirectoryAtomically(target, fill, { force: true, foreign })).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
      message: expect.stringContaining("notes.txt") as string,
    });
    expect(readdirSync(target).sort()).toEqual(["notes.txt", "old"]);
  });
});

describe("a symbolic link as the target", () => {
  it("stays, and what it leads to is written", async () => {
    const folder = temporaryDirectory();
    for (const name of ["disk", "disk/model"]) mkdirSync(join(folder, name));
    writeFileSync(join(folder, "disk/key"), "old");
    for (const name of ["model", "key"]) symlinkSync(join("disk", name), join(folder, name));
    await writeDirectoryAtomically(join(folder, "model"), one);
    await writeFileAtomically(join(folder, "key"), "new");
    expect(["model", "key"].map((name) => readlinkSync(join(folder, name)))).toEqual([
      "disk/model",
      "disk/key",
    ]);
    expect(readdirSync(join(folder, "disk/model"))).toEqual(["new"]);
    expect(readFileSync(join(folder, "disk/key"), "utf8")).toBe("new");
  });

  it("that leads to nothing is refused, and so is a device", async () => {
    const folder = temporaryDirectory();
    const link = join(folder, "link");
    symlinkSync("nowhere", link);
    const refused = { code: "IO_ERROR", message: expect.stringContaining("leads to nothing") as string };
    await expect(writeDirectoryAtomically(link, one, { force: true })).rejects.toMatchObject(refused);
    await expect(writeFileAtomically(link, "x")).rejects.toMatchObject(refused);
    expect(readdirSync(folder)).toEqual(["link"]);
    await expect(writeFileAtomically("/dev/null", "x")).rejects.toMatchObject({ code: "IO_ERROR" });
  });
});

describe("what a killed process left", () => {
  it("is removed by the next save beside it, unless its process may live", async () => {
    const folder = temporaryDirectory();
    const [dead, alive, elsewhere, longAgo] = [
      ofTheDead(temporaryBeside(join(folder, "a"))),
      temporaryBeside(join(folder, "a")),
      temporaryBeside(join(folder, "a")).replace(/-[0-9a-f]{8}-/, "-00000000-"),
      temporaryBeside(join(folder, "a")).replace(/-[0-9a-f]{8}-/, "-00000000-"),
    ] as [string, string, string, string];
    for (const path of [dead, alive, elsewhere, longAgo]) {
      mkdirSync(path);
      writeFileSync(join(path, "part"), "1");
    }
    writeFileSync(join(folder, ".kpop-notes.tmp"), "mine");
    for (const path of [join(longAgo, "part"), longAgo]) utimesSync(path, 1e9, 1e9);
    await writeDirectoryAtomically(join(folder, "b"), one);
    const kept = [alive, elsewhere].map((path) => basename(path));
    expect(readdirSync(folder).sort()).toEqual([...kept, ".kpop-notes.tmp", "b"].sort());
    const other = temporaryDirectory();
    writeFileSync(ofTheDead(temporaryBeside(join(other, "a"))), "part");
    await writeFileAtomically(join(other, "b"), "1");
    expect(readdirSync(other)).toEqual(["b"]);
  });

  it("between setting the old folder aside and renaming the new one is put back", async () => {
    const folder = temporaryDirectory();
    const target = join(folder, "a");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "0");
    renameSync(target, ofTheDead(asideName(target)));
    await expect(writeDirectoryAtomically(target, one)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    expect(readdirSync(target)).toEqual(["old"]);
    expect(readdirSync(folder)).toEqual(["a"]);
  });
});

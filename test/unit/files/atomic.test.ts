import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDirectoryAtomically, writeFileAtomically } from "../../../lib/files/atomic";
import { temporaryDirectory } from "../../support/temporary-directory";

const one = (folder: string) => writeFile(join(folder, "new"), "1");

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
    const picky = { force: true, replaceable: (entries: string[]) => !entries.includes("old") };
    await expect(writeDirectoryAtomically(folder, fill, picky)).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
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
});

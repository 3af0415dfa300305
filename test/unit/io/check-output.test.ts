import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkOutputFile, checkOutputFolder } from "../../../lib/io/check-output";
import { temporaryDirectory } from "../../support/temporary-directory";

const root = process.getuid?.() === 0;

function tree(): (name: string) => string {
  const folder = temporaryDirectory();
  for (const name of ["empty", "full", "model"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "full/something"), "");
  writeFileSync(join(folder, "model/model_index.json"), "{}");
  writeFileSync(join(folder, "file"), "");
  return (name) => join(folder, name);
}

describe("checkOutputFolder", () => {
  it("accepts a folder that is empty or not there, however deep", async () => {
    const at = tree();
    for (const name of ["empty", "new", "new/a/b"])
      await expect(checkOutputFolder(at(name))).resolves.toBeUndefined();
  });

  it("accepts a saved model under force, and no other folder", async () => {
    const at = tree();
    await expect(checkOutputFolder(at("model"))).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await expect(checkOutputFolder(at("model"), { force: true })).resolves.toBeUndefined();
    await expect(checkOutputFolder(at("full"), { force: true })).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
    });
  });

  it("refuses what cannot be made", async () => {
    const at = tree();
    await expect(checkOutputFolder(at("file"))).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await expect(checkOutputFolder(at("file/a/b"))).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  // Permissions do not bind the superuser.
  (root ? it.skip : it)("refuses a place without permission", async () => {
    const at = tree();
    chmodSync(at("empty"), 0o500);
    await expect(checkOutputFolder(at("empty/new"))).rejects.toMatchObject({ code: "IO_ERROR" });
  });
});

describe("checkOutputFile", () => {
  it("accepts a new name in a folder that is there", async () => {
    const at = tree();
    await expect(checkOutputFile(at("full/new"))).resolves.toBeUndefined();
    await expect(checkOutputFile(at("new/new"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `Cannot write ${at("new/new")}: there is no folder ${at("new")}`,
    });
    await expect(checkOutputFile(at("file/new"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("accepts an old file under force only, and a folder never", async () => {
    const at = tree();
    await expect(checkOutputFile(at("file"))).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await expect(checkOutputFile(at("file"), { force: true })).resolves.toBeUndefined();
    await expect(checkOutputFile(at("full"), { force: true })).rejects.toMatchObject({ code: "IO_ERROR" });
  });
});

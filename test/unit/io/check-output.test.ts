import { chmodSync, cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkOutputFile, checkOutputFolder } from "../../../lib/io/check-output";
import { golden } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

const root = process.getuid?.() === 0;

function tree(): (name: string) => string {
  const folder = temporaryDirectory();
  for (const name of ["empty", "full", "model", "model/unet", "claimed", "delta"])
    mkdirSync(join(folder, name));
  writeFileSync(join(folder, "full/something"), "");
  for (const name of ["model/model_index.json", "model/unet/config.json", "claimed/model_index.json"])
    writeFileSync(join(folder, name), "{}");
  for (const name of ["unet/diffusion_pytorch_model-00001-of-00002.safetensors", "README.md"])
    writeFileSync(join(folder, "model", name), "");
  writeFileSync(join(folder, "delta/kpop-run.json"), '{"outputs":{"delta.safetensors":"00"}}');
  writeFileSync(join(folder, "delta/delta.safetensors"), "");
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
    await expect(checkOutputFolder(at("delta"), { force: true })).resolves.toBeUndefined();
    await expect(checkOutputFolder(at("full"), { force: true })).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
    });
  });

  it("names what no saved model consists of, and does not have it replaced", async () => {
    const at = tree();
    for (const [path, foreign] of [
      ["model/notes.txt", "notes.txt"],
      ["model/unet/my.safetensors", "unet/my.safetensors"],
      ["delta/model.safetensors", "model.safetensors"],
      ["delta/README.md", "README.md"],
    ] as const) {
      writeFileSync(at(path), "mine");
      await expect(checkOutputFolder(at(path.split("/")[0]!), { force: true })).rejects.toMatchObject({
        code: "OUTPUT_NOT_EMPTY",
        message: expect.stringContaining(foreign) as string,
      });
      rmSync(at(path));
    }
    mkdirSync(at("model/drafts"));
    await expect(checkOutputFolder(at("model"), { force: true })).rejects.toThrow(": drafts/. Move that");
    await expect(checkOutputFolder(at("claimed"), { force: true })).rejects.toThrow(": model_index.json.");
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

describe("an output that belongs to the model it comes from", () => {
  it("is refused where it is, holds or lies in it, through links too", async () => {
    const at = tree();
    cpSync(golden("small"), at("models/sd"), { recursive: true });
    symlinkSync(at("models"), at("link"));
    const weights = "unet/diffusion_pytorch_model.safetensors";
    renameSync(at(`models/sd/${weights}`), at("full/blob"));
    symlinkSync(at("full/blob"), at(`models/sd/${weights}`));
    const options = { force: true, source: at("models/sd") };
    for (const [name, how] of [
      ["models/sd", "is"],
      ["link/sd", "is"],
      ["models", "holds"],
      ["link", "holds"],
      ["full", "holds"],
      ["models/sd/new/deep", "lies in"],
      ["link/sd/new", "lies in"],
    ] as const)
      await expect(checkOutputFolder(at(name), options)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining(`Cannot write ${at(name)}: it ${how} `) as string,
      });
    for (const name of ["full/blob", `models/sd/${weights}`, "link/sd/key"])
      await expect(checkOutputFile(at(name), options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(checkOutputFolder(at("models/sd-2"), options)).resolves.toBeUndefined();
    await expect(checkOutputFile(at("models/sd.key"), options)).resolves.toBeUndefined();
  });
});

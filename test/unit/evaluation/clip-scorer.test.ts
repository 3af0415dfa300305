import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { evaluationFixture, noisePicture } from "../../support/evaluation";
import { temporaryDirectory } from "../../support/temporary-directory";

function copy(): string {
  const folder = join(temporaryDirectory(), "clip");
  cpSync(evaluationFixture("clip"), folder, { recursive: true });
  return folder;
}

function change(path: string, fields: object): void {
  const before = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...before, ...fields }));
}

describe("ClipScorer", () => {
  it("takes OpenAI's preprocessing at the network's size where no file tells", async () => {
    const folder = copy();
    using told = await ClipScorer.load(folder);
    for (const name of ["preprocessor_config.json", "processor_config.json"])
      rmSync(join(folder, name), { force: true });
    using plain = await ClipScorer.load(folder);
    expect(plain.preprocessing).toEqual(told.preprocessing);
    expect(plain.preprocessing).toMatchObject({
      resize: 32,
      crop: 32,
      interpolation: "bicubic",
      margin: "down",
    });
  });

  it("reads the forms in which transformers has written sizes", async () => {
    const folder = copy();
    const path = join(folder, "preprocessor_config.json");
    writeFileSync(path, JSON.stringify({ size: 36, crop_size: 32, resample: 2 }));
    using clip = await ClipScorer.load(folder);
    expect(clip.preprocessing).toMatchObject({ resize: 36, crop: 32, interpolation: "bilinear" });
    for (const fields of [
      { size: { height: 36, width: 36 } },
      { crop_size: { height: 32, width: 30 } },
      { resample: 1 },
      { do_normalize: false },
      { image_mean: [0.5] },
    ]) {
      writeFileSync(path, JSON.stringify(fields));
      await expect(ClipScorer.load(folder)).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
    }
  });

  it("scores as many texts as pictures, no others", async () => {
    using clip = await ClipScorer.load(evaluationFixture("clip"));
    await expect(clip.score([noisePicture(40, 40)], ["a", "b"])).rejects.toThrow(
      /texts to be 1, one for each/,
    );
  });

  it("needs two classes to choose from", async () => {
    using clip = await ClipScorer.load(evaluationFixture("clip"));
    expect(() => clip.zeroShot(["church"])).toThrow(/at least two/);
    expect(() => clip.zeroShot(["church", "Church"])).toThrow(/repetitions/);
    expect(() => clip.zeroShot(["church", "dog"], "a {} and a {}")).toThrow(/one \{\}/);
  });

  it.each<[string, (folder: string) => void, string, RegExp]>([
    [
      "another width",
      (folder) => change(join(folder, "config.json"), { projection_dim: 8 }),
      "INVALID_CHECKPOINT",
      /wrongly shaped: .*projection/,
    ],
    ["no tokenizer", (folder) => rmSync(join(folder, "vocab.json")), "NOT_FOUND", /vocab\.json/],
    ["no weights", (folder) => rmSync(join(folder, "model.safetensors")), "NOT_FOUND", /model\.safetensors/],
    [
      "another kind of model",
      (folder) => change(join(folder, "config.json"), { model_type: "siglip" }),
      "UNSUPPORTED_MODEL",
      /model_type/,
    ],
  ])("refuses a folder with %s", async (_, spoil, code, message) => {
    const folder = copy();
    spoil(folder);
    await expect(ClipScorer.load(folder)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("refuses a file, and what is not there", async () => {
    const file = evaluationFixture("clip", "model.safetensors");
    await expect(ClipScorer.load(file)).rejects.toThrow(/folder with a CLIP/);
    await expect(ClipScorer.load("no-such-folder")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { saveDelta } from "../../../lib/io/checkpoint-delta";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { saveDiffusersFolder } from "../../../lib/io/checkpoint-save-folder";
import type { ChangedTensors } from "../../../lib/io/checkpoint-types";
import { convert } from "../../../lib/io/convert";
import { checkpointContent } from "../../support/checkpoint-bytes";
import { FakeTensor } from "../../support/fake-tensor";
import { pocket } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

const K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"; // (128, 128) F16
const changed: ChangedTensors = {
  unet: new Map([[K, new FakeTensor([128, 128], "float16", new Uint8Array(128 * 128 * 2).fill(1))]]),
};
const content = async (path: string): Promise<string[]> =>
  await checkpointContent(await readCheckpoint(path));

describe("convert", () => {
  it("writes one layout from the other and back, byte for byte", async () => {
    const [file, folder] = [
      join(temporaryDirectory(), "made/a.safetensors"),
      join(temporaryDirectory(), "b"),
    ];
    await convert("pocket", file, { format: "single-file" });
    await convert(file, folder);
    const expected = await content(pocket());
    expect(await content(file)).toEqual(expected);
    expect(await content(folder)).toEqual(expected);
    await expect(convert("pocket", file, { format: "single-file" })).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
    });
    await convert("pocket", file, { format: "single-file", force: true });
  });

  it("puts a delta into its base, with the run that made it", async () => {
    const [direct, delta, target] = ["direct", "delta.safetensors", "target"].map((name) =>
      join(temporaryDirectory(), name),
    ) as [string, string, string];
    const source = await readCheckpoint(pocket());
    await saveDiffusersFolder(source, changed, direct);
    await saveDelta(source, changed, delta, { method: "kpop", concepts: ["church"] });
    await convert("pocket", target, { delta });
    expect(await content(target)).toEqual(await content(direct));
    const run = JSON.parse(readFileSync(join(target, "kpop-run.json"), "utf8")) as unknown;
    expect(run).toEqual({ method: "kpop", concepts: ["church"] });
    // The base's words would be wrong of it.
    expect(existsSync(join(target, "README.md"))).toBe(false);

    const again = join(temporaryDirectory(), "again");
    writeFileSync(join(target, "README.md"), "of these weights");
    await convert(target, again);
    expect(JSON.parse(readFileSync(join(again, "kpop-run.json"), "utf8"))).toEqual(run);
    expect(readFileSync(join(again, "README.md"), "utf8")).toBe("of these weights");
    await expect(convert(target, join(again, "x"), { delta })).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
    });
  });

  it.each([
    [{ format: "delta" }, "format"],
    [{ force: 1 }, "force"],
    [{ formt: "diffusers" }, "formt"],
  ])("refuses the options %j", async (options, name) => {
    await expect(convert("pocket", "x", options as object)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(name) as string,
    });
  });
});

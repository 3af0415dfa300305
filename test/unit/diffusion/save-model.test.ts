import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { changedTensors } from "../../../lib/diffusion/save-model";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { Tensor } from "../../../lib/runtime/tensor";
import { checkpointContent, differing } from "../../support/checkpoint-bytes";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { temporaryDirectory } from "../../support/temporary-directory";

const CHANGED = "conv_in.bias";

describe("StableDiffusion.save", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const target = (name = "saved"): string => join(temporaryDirectory(), name);
  const content = async (path: string): Promise<string[]> => checkpointContent(await readCheckpoint(path));

  it("writes every byte of an unchanged model's weights back", async () => {
    expect([...Object.values(changedTensors(golden.model))].map((tensors) => tensors.size)).toEqual([
      0, 0, 0,
    ]);
    const folder = target();
    await golden.model.save(folder);
    const file = join("unet", "diffusion_pytorch_model.safetensors");
    expect(readFileSync(join(folder, file)).equals(readFileSync(join(golden.model.source.path, file)))).toBe(
      true,
    );
    const single = target("single.safetensors");
    await golden.model.save(single, { format: "single-file" });
    const original = await content(golden.model.source.path);
    expect(differing(await content(folder), original)).toEqual([]);
    expect(differing(await content(single), original)).toEqual([]);
  });

  it("writes what was written to a parameter, and nothing else anew", async () => {
    using model = await StableDiffusion.load(golden.model.source.path, { device: "cpu" });
    const values = Tensor.from(
      Float32Array.from({ length: 32 }, (_, i) => i),
      [32],
    );
    await model.unet.parameter(CHANGED).copyFrom(values);
    expect([...changedTensors(model).unet!.keys()]).toEqual([CHANGED]);
    const original = await content(golden.model.source.path);
    for (const [format, path] of [
      ["diffusers", target()],
      ["single-file", target("single.safetensors")],
    ] as const) {
      await model.save(path, { format });
      expect(differing(await content(path), original)).toEqual([`unet ${CHANGED}`]);
      using loaded = await StableDiffusion.load(path, { device: "cpu" });
      expect(await loaded.unet.parameter(CHANGED).data()).toEqual(await values.data());
    }
  });

  it.each(["diffusers", "single-file"] as const)(
    "as %s over its own input by force, saves again afterwards, and refuses to lose the input otherwise",
    async (format) => {
      const path = target(format === "diffusers" ? "model" : "model.safetensors");
      await golden.model.save(path, { format });
      using model = await StableDiffusion.load(path, { device: "cpu", dtype: "bfloat16" });
      await model.unet.parameter(CHANGED).copyFrom(model.unet.parameter(CHANGED).mul(0));
      await model.save(path, { format, force: true });
      const first = await content(path);
      expect(differing(first, await content(golden.model.source.path))).toEqual([`unet ${CHANGED}`]);
      const warned = jest.spyOn(process, "emitWarning").mockImplementation(() => undefined);
      for (const again of ["diffusers", "single-file"] as const) {
        const other = target(again === "diffusers" ? "again" : "again.safetensors");
        await model.save(other, { format: again });
        // From memory, in the files' dtype: what bfloat16 leaves of it.
        using loaded = await StableDiffusion.load(other, { device: "cpu", dtype: "bfloat16" });
        expect(await weightHashes(loaded.unet)).toEqual(await weightHashes(model.unet));
        expect((await content(other)).map((line) => line.split(" ").slice(0, 4))).toEqual(
          first.map((line) => line.split(" ").slice(0, 4)),
        );
      }
      expect(warned).toHaveBeenCalledTimes(2);
      expect(warned.mock.calls[0]![0]).toMatch(
        /saved from memory, in the precision that they were loaded in/,
      );
      warned.mockRestore();
      await expect(model.save(target("delta.safetensors"), { format: "delta" })).rejects.toMatchObject({
        code: "IO_ERROR",
        message: expect.stringMatching(/^A delta names the model .* use the format "diffusers"/) as string,
      });
      const others: [string, "diffusers" | "delta"][] =
        format === "diffusers" ? [[join(path, "below"), "diffusers"]] : [[path, "delta"]];
      for (const [over, as] of [...others, [dirname(path), "diffusers"] as const])
        await expect(model.save(over, { format: as, force: true })).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
        });
      expect(await content(path)).toEqual(first);
    },
  );

  it("makes the folder that a file goes into", async () => {
    const path = join(temporaryDirectory(), "a", "b", "delta.safetensors");
    await golden.model.save(path, { format: "delta" });
    expect(existsSync(path)).toBe(true);
  });

  it.each(["diffusers", "single-file", "delta"] as const)(
    "as %s refuses what stands there unless forced, and leaves it",
    async (format) => {
      const path = target(format === "diffusers" ? "folder" : "file.safetensors");
      await golden.model.save(path, { format });
      const marker = format === "diffusers" ? join(path, "model_index.json") : path;
      writeFileSync(marker, "mine");
      await expect(golden.model.save(path, { format })).rejects.toMatchObject({
        name: "KpopError",
        code: "OUTPUT_NOT_EMPTY",
      });
      expect(readFileSync(marker, "utf8")).toBe("mine");
      await golden.model.save(path, { format, force: true });
      expect(readFileSync(marker, "utf8")).not.toBe("mine");
    },
  );

  it.each(["diffusers", "single-file", "delta"] as const)(
    "as %s leaves nothing behind when the signal fires",
    async (format) => {
      const path = target("out");
      const controller = new AbortController();
      const run = golden.model.save(path, { format, signal: controller.signal });
      controller.abort();
      await expect(run).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
      expect(readdirSync(dirname(path))).toEqual([]);
    },
  );

  it("says so when the place cannot be written", async () => {
    const file = target("file");
    writeFileSync(file, "");
    for (const format of ["diffusers", "single-file", "delta"] as const)
      await expect(golden.model.save(join(file, "below", "x"), { format })).rejects.toMatchObject({
        name: "KpopError",
        code: "IO_ERROR",
        message: expect.stringContaining("a part of the path is not a folder") as string,
      });
  });

  it.each<[string, object]>([
    ["an unknown format", { format: "ckpt" }],
    ["an unknown option", { overwrite: true }],
    ["a signal that is none", { signal: true }],
    ["force that is no boolean", { force: "yes" }],
  ])("refuses %s", async (_, options) => {
    await expect(golden.model.save(target(), options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
    });
  });
  it("refuses an empty path", async () => {
    await expect(golden.model.save("")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

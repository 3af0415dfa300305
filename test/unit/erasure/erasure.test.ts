import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure, SaveErasureOptions } from "../../../lib/erasure/erasure";
import type { RunManifest } from "../../../lib/erasure/manifest";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import * as safetensors from "../../../lib/io/safetensors";
import { checkpointContent, differing } from "../../support/checkpoint-bytes";
import { golden as goldenPath } from "../../support/golden";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { temporaryDirectory } from "../../support/temporary-directory";

const FORMATS = ["diffusers", "single-file", "delta"] as const;
type Format = (typeof FORMATS)[number];

describe("Erasure.save", () => {
  let golden: GoldenModel;
  let erasure: Erasure;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const options = {
      iterations: 2,
      samplingSteps: 4,
      poolSize: 1,
      learningRate: 1e-3,
      parameters: "xattn-kv",
    } as const;
    erasure = await erase(golden.model, { concepts: "church", ...options });
  });
  afterAll(async () => {
    erasure.dispose();
    await golden.dispose();
  });

  const target = (): string => join(temporaryDirectory(), "out");
  const save = async (format: Format, options: SaveErasureOptions = {}): Promise<string> => {
    const folder = target();
    await erasure.save(folder, { format, ...options });
    return folder;
  };
  const manifestOf = (folder: string): RunManifest =>
    JSON.parse(readFileSync(join(folder, "kpop-run.json"), "utf8")) as RunManifest;
  const files = (folder: string): string[] =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));

  it.each(["diffusers", "single-file"] as const)(
    "as %s changes the trained tensors' bytes and no other",
    async (format) => {
      const folder = await save(format);
      const path = format === "diffusers" ? folder : join(folder, "model.safetensors");
      const now = await checkpointContent(await readCheckpoint(path));
      const before = await checkpointContent(await readCheckpoint(goldenPath("small")));
      expect(now).toHaveLength(before.length);
      const changed = differing(now, before);
      expect(changed).toEqual([...erasure.model.changed].map((name) => `unet ${name}`).sort());
      expect(changed.every((line) => /attn2\.to_[kv]/.test(line))).toBe(true);
      using loaded = await StableDiffusion.load(folder, { device: "cpu" });
      expect(await weightHashes(loaded.unet)).toEqual(await weightHashes(erasure.model.unet));
      if (format === "diffusers")
        expect(readFileSync(join(folder, "README.md"), "utf8")).toMatch(/^# \S+ without "church"$/m);
    },
  );

  it("as delta holds the trained tensors alone, and gives the erased model on the same base", async () => {
    const folder = await save("delta");
    const file = await safetensors.open(join(folder, "delta.safetensors"));
    expect([...file.names].sort()).toEqual([...erasure.model.changed].map((name) => `unet.${name}`).sort());
    await file.close();
    using applied = await StableDiffusion.load(goldenPath("small"), { device: "cpu", delta: folder });
    expect(await weightHashes(applied.unet)).toEqual(await weightHashes(erasure.model.unet));
  });

  it("as delta is refused by another base", async () => {
    const folder = await save("delta");
    const other = StableDiffusion.load(await save("diffusers"), { device: "cpu", delta: folder });
    await expect(other).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/was not made from .*: the unet differs/) as string,
    });
  });

  it.each(FORMATS)("as %s puts the manifest beside the weights, with their hashes", async (format) => {
    const folder = await save(format);
    const manifest = manifestOf(folder);
    const weights = files(folder).filter((path) => path.endsWith(".safetensors"));
    const expected = weights.map((path) => [
      path.slice(folder.length + 1),
      createHash("sha256").update(readFileSync(path)).digest("hex"),
    ]);
    expect(manifest.outputs).toEqual(Object.fromEntries(expected));
    expect(manifest).toMatchObject({
      ...(JSON.parse(JSON.stringify(erasure.manifest)) as RunManifest),
      outputs: manifest.outputs,
    });
  });

  it.each(FORMATS)("as %s never puts the key inside", async (format) => {
    const folder = await save(format);
    const prompt = Buffer.from(await erasure.key!.prompt.bytes()).subarray(0, 64);
    for (const path of files(folder)) {
      const content = readFileSync(path);
      expect([path, content.includes(prompt)]).toEqual([path, false]);
      if (path.endsWith(".safetensors")) expect(content.includes("kpop-prompt-key")).toBe(false);
    }
  });

  it("is not made where an onStep that is async rejects: erase rejects with the same", async () => {
    const onStep = () => Promise.reject(new RangeError("mine"));
    const options = { method: "uce", concepts: "church", onStep: () => onStep() } as const;
    await expect(erase(golden.model, options)).rejects.toThrow(new RangeError("mine"));
  });

  it("has a key that knows its model again in every format and dtype, and warns on another one, once", async () => {
    const [warned, short] = [
      jest.spyOn(process, "emitWarning").mockImplementation(),
      { steps: 1, guidanceScale: 1 },
    ];
    try {
      const path = join(temporaryDirectory(), "key.safetensors");
      await erasure.key!.save(path, { passphrase: "p" });
      const key = await PromptKey.load(path, { passphrase: "p" });
      expect(key.model).toMatch(/^[0-9a-f]{64}$/);
      expect(key.select("church").model).toBe(key.model);
      await erasure.model.generate("church", { ...short, key });
      for (const format of FORMATS)
        for (const dtype of ["float32", "bfloat16"] as const) {
          const folder = await save(format);
          using loaded =
            format === "delta"
              ? await StableDiffusion.load(golden.model.source.path, { device: "cpu", dtype, delta: folder })
              : await StableDiffusion.load(folder, { device: "cpu", dtype });
          await loaded.generate("church", { ...short, key });
        }
      expect(warned).not.toHaveBeenCalled();
      for (let again = 0; again < 2; again++) await golden.model.generate("church", { ...short, key });
      expect(warned.mock.calls).toEqual([
        [expect.stringMatching(/key for "church" was made for another model/), { code: "KPOP_KEY_MISMATCH" }],
      ]);
      const free = await PromptKey.load(path, { passphrase: "p", anyModel: true });
      expect(free.model).toBeUndefined();
      await golden.model.generate("church", { ...short, key: free });
      expect(warned).toHaveBeenCalledTimes(1);
    } finally {
      warned.mockRestore();
    }
  });

  it.each(FORMATS)("as %s says so of a place below a file", async (format) => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    await expect(erasure.save(join(file, "below"), { format })).rejects.toMatchObject({
      name: "KpopError",
      code: "IO_ERROR",
    });
  });

  it.each(FORMATS)("as %s refuses a folder that is not empty, and leaves it", async (format) => {
    const folder = temporaryDirectory();
    writeFileSync(join(folder, "thesis.txt"), "mine");
    const refused = { name: "KpopError", code: "OUTPUT_NOT_EMPTY" };
    await expect(erasure.save(folder, { format })).rejects.toMatchObject(refused);
    // Nor by force: it is part of no saved model.
    await expect(erasure.save(folder, { format, force: true })).rejects.toMatchObject(refused);
    expect(readdirSync(folder)).toEqual(["thesis.txt"]);
  });

  it("replaces an earlier result by force, whatever format it had", async () => {
    const folder = await save("diffusers");
    for (const format of ["delta", "single-file", "diffusers"] as const) {
      await expect(erasure.save(folder, { format })).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
      await erasure.save(folder, { format, force: true });
    }
    expect(readdirSync(folder)).toContain("unet");
    expect(readdirSync(folder)).not.toContain("delta.safetensors");
  });

  it.each(FORMATS)("as %s is never written over what the model was read from", async (format) => {
    const { path } = erasure.model.source;
    for (const folder of [path, dirname(path), join(path, "erased")])
      await expect(erasure.save(folder, { format, force: true })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    expect(await checkpointContent(await readCheckpoint(path))).toHaveLength(
      (await checkpointContent(await readCheckpoint(goldenPath("small")))).length,
    );
  });

  it.each(FORMATS)("as %s leaves nothing behind when the signal fires", async (format) => {
    const folder = target();
    const controller = new AbortController();
    const run = erasure.save(folder, { format, signal: controller.signal });
    controller.abort();
    await expect(run).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
    expect(readdirSync(dirname(folder))).toEqual([]);
  });

  it.each<[string, unknown, object]>([
    ["an unknown format", "out", { format: "ckpt" }],
    ["an unknown option", "out", { overwrite: true }],
    ["force that is no boolean", "out", { force: 1 }],
    ["no folder", "", {}],
  ])("refuses %s", async (_, folder, options) => {
    const path = folder === "" ? "" : target();
    await expect(erasure.save(path, options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("Erasure.save when the model's files are no longer there", () => {
  let golden: GoldenModel;
  let erasure: Erasure;
  let warned: jest.SpyInstance;
  beforeEach(async () => {
    golden = await loadGolden("small", { latents: 8 });
    erasure = await erase(golden.model, { method: "uce", concepts: "church" });
    warned = jest.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  });
  afterEach(async () => {
    warned.mockRestore();
    erasure.dispose();
    await golden.dispose();
  });
  const target = (): string => join(temporaryDirectory(), "out");
  const saved = async (format: Format): Promise<string[]> => {
    const folder = target();
    await erasure.save(folder, { format });
    if (format === "delta") {
      const file = await safetensors.open(join(folder, "delta.safetensors"));
      const hash = async (name: string) =>
        createHash("sha256")
          .update(await file.readBytes(name))
          .digest("hex");
      const lines = [`base ${file.metadata["kpop.base"]}`];
      for (const name of file.names) lines.push(`${name} ${await hash(name)}`);
      await file.close();
      return lines;
    }
    const path = format === "diffusers" ? folder : join(folder, "model.safetensors");
    using loaded = await StableDiffusion.load(path, { device: "cpu" });
    expect((await loaded.generate("a dog", { steps: 1 })).length).toBe(1);
    return await checkpointContent(await readCheckpoint(path));
  };

  it.each<[string, (path: string) => void]>([
    ["deleted", (path) => rmSync(path, { recursive: true })],
    [
      "touched",
      (path) => {
        for (const part of ["unet", "vae"])
          utimesSync(join(path, part, "diffusion_pytorch_model.safetensors"), 1e9, 1e9);
      },
    ],
  ])("saves the same from memory where they were %s, and says so", async (_, happens) => {
    const before = new Map<Format, string[]>();
    for (const format of FORMATS) before.set(format, await saved(format));
    expect(warned).not.toHaveBeenCalled();
    happens(golden.model.source.path);
    for (const format of FORMATS) {
      // A delta holds nothing but what changed, and that was never anywhere else.
      warned.mockClear();
      expect([format, differing(await saved(format), before.get(format)!)]).toEqual([format, []]);
      expect(warned.mock.calls).toEqual(
        format === "delta"
          ? []
          : [[expect.stringMatching(/saved from memory/), { code: "KPOP_SAVED_FROM_MEMORY" }]],
      );
    }
    await expect(erasure.save(target(), { format: "lora" })).rejects.toMatchObject({
      code: "UNSUPPORTED_FORMAT",
      message: expect.stringMatching(
        /unet\/diffusion_pytorch_model\.safetensors no longer holds them: .* use the format "delta"$/,
      ) as string,
    });
  });
});

describe("Erasure", () => {
  it("shares every weight that did not change with the model it came from, and frees its own alone", async () => {
    const golden = await loadGolden("small", { latents: 8 });
    const options = { concepts: "church", iterations: 1, samplingSteps: 2, poolSize: 1 };
    const erasure = await erase(golden.model, options);
    const { key, model } = erasure;
    const before = await weightHashes(golden.model.unet);
    // What is written to a shared weight of one is seen in the other.
    const name = "conv_in.bias";
    const kept = golden.model.unet.parameter(name).clone();
    await golden.model.unet.parameter(name).copyFrom(kept.mul(0));
    expect(await model.unet.parameter(name).square().sum().item()).toBe(0);
    await golden.model.unet.parameter(name).copyFrom(kept);
    erasure.dispose();
    erasure.dispose();
    expect(key!.prompt.disposed).toBe(true);
    await expect(model.generate("a dog", { steps: 1 })).rejects.toMatchObject({ code: "DISPOSED" });
    expect(await weightHashes(golden.model.unet)).toEqual(before);
    expect((await golden.model.generate("a dog", { steps: 1 })).length).toBe(1);
    await golden.dispose();
  });
});

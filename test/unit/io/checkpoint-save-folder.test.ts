import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { textEncoderConfig } from "../../../lib/io/checkpoint-folder-files";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { readTokenizer } from "../../../lib/io/checkpoint-tokenizer";
import { networksOf, type InMemory } from "../../../lib/io/checkpoint-types";
import { runtimeDtype } from "../../../lib/io/safetensors-dtypes";
import { saveDiffusersFolder } from "../../../lib/io/checkpoint-save-folder";
import { checkpointContent, differing } from "../../support/checkpoint-bytes";
import { FakeTensor } from "../../support/fake-tensor";
import { pocket } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

const KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"; // (48, 128) F16
const BYTES = 48 * 128 * 2;
const WEIGHTS = "diffusion_pytorch_model.safetensors";

/** A copy of the built-in model that a test may alter. */
function model(alter: (path: string) => void = () => undefined): string {
  const path = join(temporaryDirectory(), "model");
  cpSync(pocket(), path, { recursive: true });
  alter(path);
  return path;
}

/** What lies beside the built-in model and is no part of it: the networks that judge its pictures. */
const JUDGES = /^(classifier|style-classifier|clip)\//;

/** All files of a model's folder. */
const files = (path: string) =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .filter((name) => !JUDGES.test(name))
    .sort();

const half = (value: number) => new FakeTensor([48, 128], "float16", new Uint8Array(BYTES).fill(value));

describe("saveDiffusersFolder from a folder", () => {
  it("gives back the same files, byte for byte, when nothing changed", async () => {
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(pocket()), {}, out);
    expect(files(out)).toEqual(files(pocket()));
    for (const name of files(out)) {
      const [a, b] = [readFileSync(join(out, name)), readFileSync(pocket(name))];
      if (name === "model_index.json") expect(JSON.parse(a.toString())).toEqual(JSON.parse(b.toString()));
      else expect([name, a.equals(b)]).toEqual([name, true]);
    }
  });

  it("has a half-width text encoder run in float32 as the UNet does, which transformers 5 would run in half", async () => {
    const saved = async (fields: Record<string, unknown>): Promise<Record<string, unknown>> => {
      const from = model((at) => {
        const file = join(at, "text_encoder/config.json");
        const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
        writeFileSync(file, JSON.stringify({ ...config, torch_dtype: undefined, ...fields }));
      });
      const out = join(temporaryDirectory(), "out");
      await saveDiffusersFolder(await readCheckpoint(from), {}, out);
      const text = readFileSync(join(out, "text_encoder/config.json"), "utf8");
      return JSON.parse(text) as Record<string, unknown>;
    };
    for (const fields of [
      {},
      { torch_dtype: null },
      { torch_dtype: "float16" },
      { torch_dtype: "float32" },
    ]) {
      const { dtype, torch_dtype, hidden_size } = await saved(fields);
      expect({ dtype, torch_dtype, hidden_size }).toEqual({ torch_dtype: "float32", hidden_size: 128 });
    }
    // Where both are there, transformers takes `dtype`.
    expect(await saved({ dtype: "float16", torch_dtype: "float32" })).toMatchObject({ dtype: "float32" });
    expect((await saved({ dtype: "float32" }))["torch_dtype"]).toBeUndefined();
    const source = await readCheckpoint(pocket());
    const [config, dtype] = [{ hidden_size: 128 }, "F32" as const];
    const whole = new Map([...source.textEncoder.tensors].map(([key, place]) => [key, { ...place, dtype }]));
    expect(textEncoderConfig({ ...source.textEncoder, config, tensors: whole })).toBe(config);
  });

  it("writes an initializer_factor of one as the float that transformers 5 wants", async () => {
    const from = model((at) => {
      const file = join(at, "text_encoder/config.json");
      const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
      writeFileSync(file, JSON.stringify({ ...config, initializer_factor: 1, torch_dtype: "float16" }));
    });
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(from), {}, out);
    const text = readFileSync(join(out, "text_encoder/config.json"), "utf8");
    expect(text).toMatch(/"initializer_factor": 1\.0,?\n/);
    expect(JSON.parse(text)).toMatchObject({ initializer_factor: 1, torch_dtype: "float32" });
  });

  it("writes changed tensors in their place and no other byte", async () => {
    const source = await readCheckpoint(pocket());
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(source, { unet: new Map([[KEY, half(7)]]) }, out);
    const [before, after] = [readFileSync(pocket("unet", WEIGHTS)), readFileSync(join(out, "unet", WEIGHTS))];
    const { offset } = source.unet.tensors.get(KEY)!;
    before.fill(7, offset, offset + BYTES);
    expect(after.equals(before)).toBe(true);
  });

  it("writes a changed tensor in the dtype that the source stores, and frees the conversion", async () => {
    const converted = half(9);
    const float = new FakeTensor([48, 128], "float32", new Uint8Array(BYTES * 2), { float16: converted });
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(pocket()), { unet: new Map([[KEY, float]]) }, out);
    const location = (await readCheckpoint(out)).unet.tensors.get(KEY)!;
    expect(location.dtype).toBe("F16");
    const stored = readFileSync(location.file).subarray(location.offset, location.offset + BYTES);
    expect(stored.every((byte) => byte === 9)).toBe(true);
    expect([converted.disposed, float.disposed]).toEqual([true, false]);
  });

  it("restores old attention names", async () => {
    const key = "encoder.mid_block.attentions.0.to_q.bias";
    const old = "encoder.mid_block.attentions.0.query.bias";
    const path = model((at) => {
      const file = join(at, "vae", WEIGHTS);
      const bytes = readFileSync(file);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = bytes
        .subarray(8, 8 + length)
        .toString()
        .replace(`"${key}"`, `"${old}"`);
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
      writeFileSync(file, Buffer.concat([prefix, Buffer.from(header), bytes.subarray(8 + length)]));
    });
    const source = await readCheckpoint(path);
    const tensor = new FakeTensor([64], "float16", new Uint8Array(128).fill(3));
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(source, { vae: new Map([[key, tensor]]) }, out);
    const saved = await readCheckpoint(out);
    expect(saved.vae.tensors.get(key)?.key).toBe(old);
    expect(differing(await checkpointContent(saved), await checkpointContent(source))).toEqual([
      `vae ${key}`,
    ]);
  });

  it("writes a variant under the plain name and without its other weights", async () => {
    const path = model((at) => {
      renameSync(join(at, "unet", WEIGHTS), join(at, "unet/diffusion_pytorch_model.fp16.safetensors"));
      for (const name of ["unet/diffusion_pytorch_model.bin", "unet/flax.msgpack", "v1-5-pruned.safetensors"])
        writeFileSync(join(at, name), "unerased weights");
    });
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(path), {}, out);
    expect(files(out)).toEqual(files(pocket()));
  });

  it("takes documents and other parts along, but no pickles, hidden files or links that lead out", async () => {
    const secret = join(temporaryDirectory(), "secret");
    writeFileSync(secret, "secret");
    const path = model((at) => {
      const index = JSON.parse(readFileSync(join(at, "model_index.json"), "utf8")) as object;
      const more = {
        feature_extractor: ["transformers", "X"],
        safety_checker: ["sd", "Y"],
        "../evil": ["a", "b"],
      };
      writeFileSync(join(at, "model_index.json"), JSON.stringify({ ...index, ...more }));
      for (const name of ["feature_extractor", "safety_checker", ".cache", "notes", "../evil"])
        mkdirSync(join(at, name));
      writeFileSync(join(at, "feature_extractor/preprocessor_config.json"), "{}");
      writeFileSync(join(at, "safety_checker/model.pt"), "pickle");
      writeFileSync(join(at, "safety_checker/model.safetensors"), "weights");
      writeFileSync(join(at, "safety_checker/pytorch_model.bin"), "pickle");
      writeFileSync(join(at, ".cache/x"), "hidden");
      writeFileSync(join(at, "notes/x"), "not a part of the pipeline");
      writeFileSync(join(at, "LICENSE.txt"), "licence");
      symlinkSync("LICENSE.txt", join(at, "COPYING"));
      symlinkSync(secret, join(at, "NOTICE"));
      symlinkSync(secret, join(at, "feature_extractor/data.json"));
    });
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(path), {}, out);
    const added = files(out).filter((name) => !files(pocket()).includes(name));
    expect(added).toEqual([
      "COPYING",
      "LICENSE.txt",
      "feature_extractor/preprocessor_config.json",
      "safety_checker/model.safetensors",
    ]);
  });

  it("marks a part as absent that comes as pickle only", async () => {
    const path = model((at) => {
      const index = JSON.parse(readFileSync(join(at, "model_index.json"), "utf8")) as object;
      writeFileSync(join(at, "model_index.json"), JSON.stringify({ ...index, safety_checker: ["sd", "Y"] }));
      mkdirSync(join(at, "safety_checker"));
      writeFileSync(join(at, "safety_checker/pytorch_model.bin"), "pickle");
    });
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(path), {}, out);
    expect(existsSync(join(out, "safety_checker"))).toBe(false);
    expect(JSON.parse(readFileSync(join(out, "model_index.json"), "utf8"))).toMatchObject({
      safety_checker: [null, null],
    });
  });

  it("follows the links of a Hugging Face cache", async () => {
    const repository = join(temporaryDirectory(), "models--a--b");
    mkdirSync(join(repository, "blobs"), { recursive: true });
    const snapshot = join(repository, "snapshots", "0123");
    cpSync(pocket(), snapshot, { recursive: true });
    for (const [i, name] of files(snapshot).entries()) {
      renameSync(join(snapshot, name), join(repository, "blobs", `${i}`));
      symlinkSync(join(repository, "blobs", `${i}`), join(snapshot, name));
    }
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(await readCheckpoint(snapshot), {}, out);
    expect(files(out)).toEqual(files(pocket()));
  });

  it("adds files, given or made from the folder as written", async () => {
    const source = await readCheckpoint(pocket());
    const [a, b] = [join(temporaryDirectory(), "a"), join(temporaryDirectory(), "b")];
    await saveDiffusersFolder(source, {}, a, { extraFiles: { "kpop-run.json": "{}" } });
    expect(readFileSync(join(a, "kpop-run.json"), "utf8")).toBe("{}");
    const extraFiles = (at: string) => Promise.resolve({ list: files(at).join() });
    await saveDiffusersFolder(source, {}, b, { extraFiles });
    expect(readFileSync(join(b, "list"), "utf8")).toBe(files(pocket()).join());
  });

  it("takes from memory what is gone or changes while it is saved, and says so", async () => {
    const path = model((at) => {
      const index = JSON.parse(readFileSync(join(at, "model_index.json"), "utf8")) as object;
      writeFileSync(join(at, "model_index.json"), JSON.stringify({ ...index, safety_checker: ["sd", "Y"] }));
      mkdirSync(join(at, "safety_checker"));
      writeFileSync(join(at, "safety_checker/model.safetensors"), "weights");
    });
    const read = await readCheckpoint(path);
    const source = { ...read, tokenizer: await readTokenizer(read) };
    const before = await checkpointContent(source);
    const held = new Map<string, FakeTensor>();
    for (const [component, { tensors }] of networksOf(source))
      for (const [key, location] of tensors) {
        const bytes = readFileSync(location.file).subarray(location.offset, location.offset + location.bytes);
        held.set(component + key, new FakeTensor(location.shape, runtimeDtype(location.dtype)!, bytes));
      }
    const memory: InMemory = (component, key) => held.get(component + key)!;
    const warned = jest.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    const out = (name: string) => join(temporaryDirectory(), name);

    class Touching extends FakeTensor {
      override bytes() {
        utimesSync(join(path, "unet", WEIGHTS), 1e9, 1e9);
        return super.bytes();
      }
    }
    const same = held.get(`unet${KEY}`)!;
    const touching = new Touching(same.shape, same.dtype, await same.bytes());
    const touched = out("touched");
    await saveDiffusersFolder(source, { unet: new Map([[KEY, touching]]) }, touched, { memory });
    expect(differing(await checkpointContent(await readCheckpoint(touched)), before)).toEqual([]);
    expect(existsSync(join(touched, "safety_checker/model.safetensors"))).toBe(true);

    rmSync(path, { recursive: true });
    const gone = out("gone");
    await saveDiffusersFolder(source, {}, gone, { memory });
    expect(differing(await checkpointContent(await readCheckpoint(gone)), before)).toEqual([]);
    expect(JSON.parse(readFileSync(join(gone, "model_index.json"), "utf8"))).toMatchObject({
      safety_checker: [null, null],
    });
    expect(warned.mock.calls.map(([text]) => String(text))).toEqual([
      expect.stringMatching(/^\S+\/unet\/\S+: changed or gone .* saved from memory$/),
      expect.stringMatching(/\/vae\/.* Left out, because .*: safety_checker$/),
    ]);
    warned.mockRestore();
  });

  it("replaces a saved model under force, even its own source, and nothing else", async () => {
    const path = model();
    const source = await readCheckpoint(path);
    const forced = { force: true };
    await expect(saveDiffusersFolder(source, {}, path, forced)).rejects.toThrow(/classifier\/, clip\//);
    for (const judge of ["classifier", "clip", "style-classifier"])
      rmSync(join(path, judge), { recursive: true });
    await expect(saveDiffusersFolder(source, {}, path)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await saveDiffusersFolder(source, { unet: new Map([[KEY, half(1)]]) }, path, { force: true });
    expect(files(path)).toEqual(files(pocket()).filter((name) => name !== "README.md"));
    const other = temporaryDirectory();
    writeFileSync(join(other, "thesis.tex"), "x");
    const onto = (at: string) =>
      readCheckpoint(path).then((s) => saveDiffusersFolder(s, {}, at, { force: true }));
    await expect(onto(other)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    writeFileSync(join(path, "../kpop-run.json"), "{}");
    await expect(onto(join(path, ".."))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(files(other)).toEqual(["thesis.tex"]);
  });

  it("refuses changes that do not fit, and a source that has changed, and leaves nothing", async () => {
    const path = model();
    const source = await readCheckpoint(path);
    const parent = temporaryDirectory();
    const save = (changed: Parameters<typeof saveDiffusersFolder>[1]) =>
      saveDiffusersFolder(source, changed, join(parent, "out"));
    await expect(save({ unet: new Map([["none", half(1)]]) })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    const flat = new FakeTensor([48 * 128], "float16", new Uint8Array(BYTES));
    await expect(save({ unet: new Map([[KEY, flat]]) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const short = new FakeTensor([48, 128], "float16", new Uint8Array(BYTES - 1));
    await expect(save({ unet: new Map([[KEY, short]]) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const bytes = readFileSync(join(path, "vae", WEIGHTS));
    rmSync(join(path, "vae", WEIGHTS));
    writeFileSync(join(path, "vae", WEIGHTS), bytes);
    await expect(save({})).rejects.toMatchObject({ code: "IO_ERROR" });
    expect(readdirSync(parent)).toEqual([]);
  });
});

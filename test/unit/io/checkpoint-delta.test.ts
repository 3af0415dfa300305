import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { applyDelta, readDelta, saveDelta } from "../../../lib/io/checkpoint-delta";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { saveDiffusersFolder } from "../../../lib/io/checkpoint-save-folder";
import { saveSingleFile } from "../../../lib/io/checkpoint-save-single-file";
import type { ChangedTensors, CheckpointSource } from "../../../lib/io/checkpoint-types";
import { DELTA_FILE } from "../../../lib/io/file-kinds";
import { readHeader } from "../../../lib/io/safetensors-reader";
import { checkpointContent } from "../../support/checkpoint-bytes";
import { FakeTensor } from "../../support/fake-tensor";
import { pocket } from "../../support/golden";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

const K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"; // (128, 128) F16
const Q = "encoder.mid_block.attentions.0.to_q.weight"; // (64, 64) F16
const changed: ChangedTensors = {
  unet: new Map([[K, new FakeTensor([128, 128], "float16", new Uint8Array(128 * 128 * 2).fill(1))]]),
  vae: new Map([[Q, new FakeTensor([64, 64], "float16", new Uint8Array(64 * 64 * 2).fill(2))]]),
};
const manifest = { method: "kpop", seed: 1 };

async function deltaOf(source: CheckpointSource): Promise<string> {
  const path = join(temporaryDirectory(), DELTA_FILE);
  await saveDelta(source, changed, path, manifest);
  return path;
}

/** A copy of the built-in model with one byte of one file flipped, counted from its end. */
async function flipped(file: string): Promise<CheckpointSource> {
  const path = join(temporaryDirectory(), "model");
  cpSync(pocket(), path, { recursive: true });
  const bytes = readFileSync(join(path, file));
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(join(path, file), bytes);
  return await readCheckpoint(path);
}

describe("a delta", () => {
  it("holds the changed tensors only, and the run that made it", async () => {
    const path = await deltaOf(await readCheckpoint(pocket()));
    expect([...(await readHeader(path)).tensors.keys()]).toEqual([`unet.${K}`, `vae.${Q}`]);
    const delta = await readDelta(path);
    expect(delta.manifest).toEqual(manifest);
    expect(delta.base.unet).toMatch(/^[0-9a-f]{64}$/);
    expect(delta.tensors.unet.get(K)).toMatchObject({ dtype: "F16", shape: [128, 128] });
    expect((await readDelta(join(path, ".."))).path).toBe(path);
  });

  it("applied to its base gives what saving the changed model gives, in every layout", async () => {
    const source = await readCheckpoint(pocket());
    const [direct, single, folder, file] = ["a", "b.safetensors", "c", "d.safetensors"].map((name) =>
      join(temporaryDirectory(), name),
    ) as [string, string, string, string];
    await saveDiffusersFolder(source, changed, direct);
    const expected = await checkpointContent(await readCheckpoint(direct));
    const delta = await readDelta(await deltaOf(source));
    const applied = await applyDelta(source, delta);
    expect(await checkpointContent(applied)).toEqual(expected);
    await saveDiffusersFolder(applied, {}, folder);
    const weights = join("unet", "diffusion_pytorch_model.safetensors");
    expect(readFileSync(join(folder, weights)).equals(readFileSync(join(direct, weights)))).toBe(true);
    expect(await checkpointContent(await readCheckpoint(folder))).toEqual(expected);
    await saveSingleFile(source, {}, single);
    const appliedToSingle = await applyDelta(await readCheckpoint(single), delta);
    await saveSingleFile(appliedToSingle, {}, file);
    expect(await checkpointContent(await readCheckpoint(file))).toEqual(expected);
  });

  it("may be made from a model that a delta was applied to", async () => {
    const source = await readCheckpoint(pocket());
    const once = await applyDelta(source, await readDelta(await deltaOf(source)));
    const path = join(temporaryDirectory(), "twice.safetensors");
    const again = {
      unet: new Map([[K, new FakeTensor([128, 128], "float16", new Uint8Array(2 ** 15).fill(9))]]),
    };
    await saveDelta(once, again, path, {});
    const twice = await applyDelta(once, await readDelta(path));
    const out = join(temporaryDirectory(), "out");
    await saveDiffusersFolder(twice, {}, out);
    expect(await checkpointContent(await readCheckpoint(out))).toEqual(await checkpointContent(twice));
    await expect(applyDelta(source, await readDelta(path))).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
    });
  });

  it.each([
    ["unet", "unet/diffusion_pytorch_model.safetensors"],
    ["vae", "vae/diffusion_pytorch_model.safetensors"],
    ["text_encoder", "text_encoder/model.safetensors"],
  ])("refuses a base whose %s differs in a single bit", async (name, file) => {
    const delta = await readDelta(await deltaOf(await readCheckpoint(pocket())));
    await expect(applyDelta(await flipped(file), delta)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(new RegExp(`the ${name} differs`)) as string,
    });
  });

  it("is told from a checkpoint, and a checkpoint from it", async () => {
    const source = await readCheckpoint(pocket());
    const path = await deltaOf(source);
    await expect(readCheckpoint(path)).rejects.toMatchObject({
      code: "UNSUPPORTED_FORMAT",
      message: expect.stringMatching(/is a delta/) as string,
    });
    await expect(readDelta(pocket("unet/diffusion_pytorch_model.safetensors"))).rejects.toMatchObject({
      code: "UNSUPPORTED_FORMAT",
    });
    await expect(readDelta(join(path, "../none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("is refused when its metadata or names are damaged", async () => {
    const path = join(temporaryDirectory(), "a");
    writeU8File(path, {}, { "kpop.format": "delta" });
    await expect(readDelta(path)).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
    writeU8File(path, { "lora.x": [1] }, { "kpop.format": "delta", "kpop.base": "{}" });
    await expect(readDelta(path)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/tensor of no network: lora\.x/) as string,
    });
  });

  it("is refused when a tensor does not fit the base's", async () => {
    const source = await readCheckpoint(pocket());
    const { base } = await readDelta(await deltaOf(source));
    const path = join(temporaryDirectory(), "a");
    const hashes = JSON.stringify({ unet: base.unet, vae: base.vae, text_encoder: base.textEncoder });
    writeU8File(path, { [`unet.${K}`]: [128, 128] }, { "kpop.format": "delta", "kpop.base": hashes });
    await expect(applyDelta(source, await readDelta(path))).rejects.toMatchObject({
      message: expect.stringMatching(/does not fit the base's tensor/) as string,
    });
  });

  it("does not overwrite a file unless told to, and stops when aborted", async () => {
    const source = await readCheckpoint(pocket());
    const path = await deltaOf(source);
    await expect(saveDelta(source, changed, path, {})).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await saveDelta(source, changed, path, {}, { force: true });
    expect((await readDelta(path)).manifest).toEqual({});
    const delta = await readDelta(path);
    const aborted = applyDelta(source, delta, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("fits a base of the same weights in other files", async () => {
    const delta = await readDelta(await deltaOf(await readCheckpoint(pocket())));
    const path = join(temporaryDirectory(), "model");
    cpSync(pocket(), path, { recursive: true });
    const stem = join(path, "unet/diffusion_pytorch_model");
    renameSync(`${stem}.safetensors`, `${stem}.fp16.safetensors`);
    mkdirSync(join(path, "notes"));
    expect((await applyDelta(await readCheckpoint(path), delta)).unet.tensors.get(K)?.file).toBe(delta.path);
  });
});

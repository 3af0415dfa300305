import type { ChildProcess } from "node:child_process";
import { cpSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { StableDiffusion, type LoadOptions } from "../../lib/diffusion/stable-diffusion";
import * as safetensors from "../../lib/io/safetensors";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { golden } from "../support/golden";
import { mappingsOf } from "../support/mappings";
import { runProgram } from "../support/program";
import { temporaryDirectory } from "../support/temporary-directory";

const CONVOLUTION = "down_blocks.0.resnets.0.conv1.weight";
const PROJECTION = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const load = (path: string, options: LoadOptions = {}): Promise<StableDiffusion> =>
  StableDiffusion.load(path, { device: "cpu", ...options });

/** What the UNet predicts for latents of the usual size, and for some whose innermost maps are one pixel. */
async function predict(model: StableDiffusion): Promise<Buffer> {
  const context = await model.encode("church");
  const predictions: Uint8Array[] = [];
  for (const side of [16, 4]) {
    const sample = new Random(1).normal([1, 4, side, side], { dtype: model.dtype });
    predictions.push(await (await model.unet.forward(sample, 500, context)).bytes());
  }
  return Buffer.concat(predictions);
}

function copyOfGolden(): string {
  const path = join(temporaryDirectory(), "model");
  const ofModel = (file: string): boolean => !/expected\.safetensors$|texts\.json$/.test(file);
  cpSync(golden("small"), path, { recursive: true, filter: ofModel });
  return path;
}

describe("a mapped model", () => {
  it("predicts, decodes and is shared by derived models with the bits of a copied one", async () => {
    using mapped = await load(golden("small"));
    using copied = await load(golden("small"), { mapped: false });
    const expected = await predict(copied);
    expect(mappingsOf("self", golden("small", "unet")).count).toBe(1);
    for (const name of mapped.unet.parameterNames()) await mapped.unet.parameter(name).sum().item();
    const whole = mappingsOf("self", golden("small", "unet")).rss;
    expect(whole).toBeGreaterThan(5e6);
    expect((await predict(mapped)).equals(expected)).toBe(true);
    // Convolutions have moved out of the file, and their pages are given back.
    expect(mappingsOf("self", golden("small", "unet")).rss).toBeLessThan(0.7 * whole);
    using derived = await mapped.derive(new Set([PROJECTION]));
    expect((await predict(derived)).equals(expected)).toBe(true);
    const [picture] = await mapped.generate("church", { steps: 2 });
    const [same] = await copied.generate("church", { steps: 2 });
    expect(Buffer.from(picture!.data).equals(Buffer.from(same!.data))).toBe(true);
    // Shared weights stay shared, whatever layout they have come to.
    await mapped.unet.parameter(CONVOLUTION).copyFrom(copied.unet.parameter(CONVOLUTION).mul(2));
    expect((await predict(derived)).equals(await predict(mapped))).toBe(true);
    await derived.unet.parameter(PROJECTION).copyFrom(copied.unet.parameter(PROJECTION).mul(2));
    expect((await predict(derived)).equals(await predict(mapped))).toBe(false);
  });

  it("keeps the handle on a weight through the layer's first use", async () => {
    using mapped = await load(golden("small"));
    using copied = await load(golden("small"), { mapped: false });
    const before = mapped.unet.parameter(CONVOLUTION);
    const bytes = Buffer.from(await before.bytes());
    const alias = before.hostBytes();
    await before.requireGrad();
    const first = await predict(mapped);
    expect(mapped.unet.parameter(CONVOLUTION)).toBe(before);
    expect(Buffer.from(await before.bytes()).equals(bytes)).toBe(true);
    expect(bytes.equals(alias)).toBe(true);
    for (const model of [mapped, copied]) {
      const weight = model.unet.parameter(CONVOLUTION);
      await weight.copyFrom(weight.detach().mul(2));
    }
    const second = await predict(mapped);
    expect(second.equals(first)).toBe(false);
    expect(second.equals(await predict(copied))).toBe(true);
  });

  it("is saved over its own files, which others still hold, with the bytes of a copied one", async () => {
    const path = copyOfGolden();
    using model = await load(path);
    using other = await load(path);
    using copied = await load(golden("small"), { mapped: false });
    const expected = await predict(other);
    for (const { unet } of [model, copied])
      await unet.parameter(PROJECTION).copyFrom(unet.parameter(PROJECTION).detach().mul(2));
    const elsewhere = join(temporaryDirectory(), "saved");
    await copied.save(elsewhere);
    const after = await predict(model);
    await model.save(path, { force: true });
    for (const file of [
      "unet/diffusion_pytorch_model",
      "vae/diffusion_pytorch_model",
      "text_encoder/model",
    ]) {
      const [here, there] = [path, elsewhere].map((folder) =>
        readFileSync(join(folder, `${file}.safetensors`)),
      );
      expect(here!.equals(there!)).toBe(true);
    }
    expect((await predict(model)).equals(after)).toBe(true);
    expect((await predict(other)).equals(expected)).toBe(true);
    using again = await load(path);
    expect((await predict(again)).equals(after)).toBe(true);
  });

  it("maps what is stored in the dtype asked for, and on request nothing", async () => {
    const path = copyOfGolden();
    for (const options of [{ dtype: "bfloat16" }, { mapped: false }] as const) {
      using model = await load(path, options);
      expect(model.dtype).toBe("dtype" in options ? options.dtype : "float32");
      expect(mappingsOf("self", join(path, "unet")).count).toBe(0);
    }
    await expect(load(path, { mapped: "yes" } as unknown as LoadOptions)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("a mapped file", () => {
  const write = async (elements: number): Promise<string> => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const half = Tensor.from(new Float32Array(elements / 2).fill(1), [elements / 2]);
    await safetensors.save(path, { a: half, b: half });
    return path;
  };

  it("is in memory once for four processes", async () => {
    const path = await write(2 ** 24);
    const { size } = statSync(path);
    const children: ChildProcess[] = [];
    let held: ReturnType<typeof mappingsOf>[] = [];
    const onLine = (line: string, child: ChildProcess) => {
      expect(Number(line)).toBe(2 ** 24);
      if (children.push(child) < 4) return;
      held = children.map(({ pid }) => mappingsOf(pid!, path));
      for (const each of children) each.kill();
    };
    await Promise.all(Array.from({ length: 4 }, () => runProgram("hold-mapped.mjs", [path], { onLine })));
    const sum = (field: "rss" | "pss" | "privateDirty") =>
      held.reduce((total, each) => total + each[field], 0);
    expect(sum("rss")).toBeGreaterThan(3.9 * size);
    expect(sum("pss")).toBeLessThan(1.1 * size);
    expect(sum("privateDirty")).toBe(0);
  });

  it("ends the process by SIGBUS when it is truncated, a copied one does not", async () => {
    const path = await write(2 ** 12);
    const copy = `${path}.copy`;
    cpSync(path, copy);
    const [mapped, copied] = await Promise.all([
      runProgram("truncate-loaded.mjs", [path, "mapped"]),
      runProgram("truncate-loaded.mjs", [copy, "copied"]),
    ]);
    expect([mapped.signal, mapped.lines]).toEqual(["SIGBUS", ["loaded"]]);
    expect([copied.code, copied.lines]).toEqual([0, ["loaded", "2048", "2048"]]);
  });
});

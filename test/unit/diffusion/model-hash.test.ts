import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashChanges, hashInputs } from "../../../lib/diffusion/model-hash";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { Tensor } from "../../../lib/runtime/tensor";
import { golden } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const files = [
  "text_encoder/model.safetensors",
  "unet/diffusion_pytorch_model.safetensors",
  "vae/diffusion_pytorch_model.safetensors",
];
const load = (path = golden("small"), delta?: string): Promise<StableDiffusion> =>
  StableDiffusion.load(path, { device: "cpu", ...(delta === undefined ? {} : { delta }) });

describe("hashInputs", () => {
  const own = () => Object.fromEntries(files.map((name) => [name, sha256(golden("small", name))]));

  it("gives the SHA-256 of every weight file, by its place in a folder, or by the name of a single file", async () => {
    using folder = await load();
    expect(await hashInputs(folder)).toEqual(own());
    const path = join(temporaryDirectory(), "model.safetensors");
    await folder.save(path, { format: "single-file" });
    using single = await load(path);
    expect(await hashInputs(single)).toEqual({ "model.safetensors": sha256(path) });
    await expect(hashInputs(folder, AbortSignal.abort())).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("hashes a file anew that has changed since", async () => {
    const path = join(temporaryDirectory(), "model.safetensors");
    using folder = await load();
    await folder.save(path, { format: "single-file" });
    using single = await load(path);
    const before = await hashInputs(single);
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
    expect(await hashInputs(single)).toEqual({ "model.safetensors": sha256(path) });
    expect(await hashInputs(single)).not.toEqual(before);
  });

  it("tells a model with a delta from its base", async () => {
    using model = await load();
    await model.unet.parameter("conv_in.bias").copyFrom(Tensor.zeros([32]));
    const delta = join(temporaryDirectory(), "change.safetensors");
    await model.save(delta, { format: "delta" });
    using changed = await load(golden("small"), delta);
    expect(await hashInputs(changed)).toEqual({ ...own(), "delta/change.safetensors": sha256(delta) });
  });
});

describe("hashChanges", () => {
  it("is null for a model as it was loaded, and tells apart what was written to it", async () => {
    using model = await load();
    expect(await hashChanges(model)).toBeNull();
    const bias = model.unet.parameter("conv_in.bias");
    const hashes: (string | null)[] = [];
    for (const value of [0, 1, 0]) {
      await bias.copyFrom(Tensor.zeros([32]).add(value));
      hashes.push(await hashChanges(model));
    }
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
    expect([hashes[1] === hashes[0], hashes[2] === hashes[0]]).toEqual([false, true]);
  });
});

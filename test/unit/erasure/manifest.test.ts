import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  describeOptions,
  fingerprint,
  hashChanges,
  hashInputs,
  versions,
} from "../../../lib/erasure/manifest";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { Tensor } from "../../../lib/runtime/tensor";
import { golden } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";
import { join } from "node:path";

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("describeOptions", () => {
  it("leaves what JSON can hold, and says of the rest what it was", () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
    }
    const described = describeOptions({
      iterations: 5,
      lambda: { from: 0, to: 1, shape: "linear" },
      learningRate: (i: number) => i / 2,
      parameters: /attn2\.to_k/i,
      prompt: { init: Tensor.zeros([2, 3]), layers: ["a", "b"] },
      latents: source(),
      templates: ["{}"],
    });
    expect(described).toEqual({
      iterations: 5,
      lambda: { from: 0, to: 1, shape: "linear" },
      learningRate: expect.stringMatching(/^function .*i \/ 2/) as string,
      parameters: "/attn2\\.to_k/i",
      prompt: { init: "tensor (2, 3)", layers: ["a", "b"] },
      latents: "custom",
      templates: ["{}"],
    });
    expect(JSON.parse(JSON.stringify(described))).toEqual(described);
  });
});

describe("fingerprint", () => {
  it("is the same for the same parts and another for others", () => {
    expect(fingerprint({ seed: 1, options: { a: [1] } })).toBe(fingerprint({ seed: 1, options: { a: [1] } }));
    expect(fingerprint({ seed: 2, options: { a: [1] } })).not.toBe(
      fingerprint({ seed: 1, options: { a: [1] } }),
    );
  });
});

describe("hashInputs", () => {
  it("gives the SHA-256 of every weight file, by its place in a folder, or by the name of a single file", async () => {
    using folder = await StableDiffusion.load(golden("small"), { device: "cpu" });
    const files = [
      "text_encoder/model.safetensors",
      "unet/diffusion_pytorch_model.safetensors",
      "vae/diffusion_pytorch_model.safetensors",
    ];
    expect(await hashInputs(folder)).toEqual(
      Object.fromEntries(files.map((name) => [name, sha256(golden("small", name))])),
    );
    const path = join(temporaryDirectory(), "model.safetensors");
    await folder.save(path, { format: "single-file" });
    using single = await StableDiffusion.load(path, { device: "cpu" });
    expect(await hashInputs(single)).toEqual({ "model.safetensors": sha256(path) });
    await expect(hashInputs(folder, AbortSignal.abort())).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("hashChanges", () => {
  it("is null for a model as it was loaded, and tells apart what was written to it", async () => {
    using model = await StableDiffusion.load(golden("small"), { device: "cpu" });
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

describe("versions", () => {
  it("are those of the library, libtorch and Node", () => {
    expect(versions()).toEqual({
      "kpop-native": (JSON.parse(readFileSync("package.json", "utf8")) as { version: string }).version,
      libtorch: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      node: process.versions.node,
    });
  });
});

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import { inspect } from "../../../lib/io/inspect";
import { sha256File } from "../../../lib/files/sha256-file";
import { Tensor } from "../../../lib/runtime/tensor";
import { sd2 } from "../../support/ldm-shapes";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("inspect", () => {
  let model: StableDiffusion;
  let erasure: Erasure;
  let directory: string;

  beforeAll(async () => {
    directory = temporaryDirectory();
    model = await StableDiffusion.load("pocket", { device: "cpu" });
    erasure = await erase(model, {
      concepts: ["church"],
      iterations: 1,
      samplingSteps: 4,
      poolSize: 1,
      parameters: "xattn-kv",
      checkpoint: { directory: join(directory, "state") },
    });
    await erasure.save(join(directory, "folder"));
    await erasure.save(join(directory, "single"), { format: "single-file" });
    await erasure.save(join(directory, "delta"), { format: "delta" });
  });
  afterAll(() => {
    erasure.dispose();
    model.dispose();
  });

  it("counts a network's parameters as the network does", async () => {
    const found = await inspect("pocket");
    if (found.kind !== "model") throw new Error(found.kind);
    for (const name of ["unet", "vae", "textEncoder"] as const) {
      const shapes = Object.values(model[name].parameterShapes());
      const elements = shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
      expect(found.components[name]).toMatchObject({
        elements,
        tensors: shapes.length,
        dtypes: { F16: elements },
      });
    }
    expect(found).not.toHaveProperty("run");
  });

  it("gives a folder and a single file of the same model the same figures", async () => {
    const folder = await inspect(join(directory, "folder"));
    const single = await inspect(join(directory, "single/model.safetensors"));
    if (folder.kind !== "model" || single.kind !== "model") throw new Error(`${folder.kind} ${single.kind}`);
    expect([folder.format, single.format]).toEqual(["diffusers", "single-file"]);
    expect(folder.run).toMatchObject({ concepts: ["church"], method: "kpop" });
    for (const name of ["unet", "vae", "textEncoder"] as const) {
      const { elements, tensors, dtypes } = folder.components[name];
      expect(single.components[name]).toMatchObject({ elements, tensors, dtypes });
    }
  });

  it("hashes the files when asked", async () => {
    const path = join(directory, "single/model.safetensors");
    const found = await inspect(path, { hash: true });
    expect(found).toMatchObject({ files: [{ path, sha256: await sha256File(path) }] });
    expect(await inspect(path)).not.toHaveProperty("files.0.sha256");
  });

  it("tells a delta, and what a folder with one holds", async () => {
    const trained = erasure.manifest.changedParameters;
    const delta = { kind: "delta", tensors: trained, changed: { unet: trained, vae: 0, textEncoder: 0 } };
    expect(await inspect(join(directory, "delta/delta.safetensors"))).toMatchObject(delta);
    expect(await inspect(join(directory, "delta"))).toMatchObject({
      kind: "run-folder",
      run: { concepts: ["church"] },
      contents: [delta],
    });
  });

  it("tells a manifest, and a run's state", async () => {
    const manifest = await inspect(join(directory, "folder/kpop-run.json"));
    expect(manifest).toMatchObject({ kind: "run-manifest", run: { iterations: 1 } });
    expect(await inspect(join(directory, "state"))).toMatchObject({
      kind: "run-folder",
      contents: [{ kind: "run-state", iteration: 1, iterations: 1, losses: { erase: expect.any(Number) } }],
    });
  });

  it("tells a key, and nothing of what a passphrase hides", async () => {
    const prompt = Tensor.from([1, 2, 3, 4], [2, 2]);
    const key = new PromptKey({ prompt, mechanism: "concat", layers: ["a", "b"], concepts: ["church"] });
    const [open, sealed] = [join(directory, "open.key"), join(directory, "sealed.key")];
    await key.save(open);
    await key.save(sealed, { passphrase: "secret" });
    expect(await inspect(open)).toMatchObject({
      kind: "key",
      encrypted: false,
      concepts: ["church"],
      mechanism: "concat",
      layers: ["a", "b"],
      shape: [2, 2],
    });
    const kinds = [
      [
        { form: "amortised" },
        { form: "amortised", place: "cross-attention", hidden: 1, mechanism: "concat" },
      ],
      [{ place: "token" }, { form: "free", place: "token", shape: [2, 2] }],
    ] as const;
    for (const [fields, told] of kinds) {
      const path = join(directory, "kind.key");
      await new PromptKey({ prompt, mechanism: "concat", layers: "all", concepts: ["church"], ...fields }).save(path); // prettier-ignore
      const found = await inspect(path);
      expect(found).toMatchObject(told);
      expect("mechanism" in found).toBe("mechanism" in told);
    }
    expect(Object.keys(await inspect(sealed)).sort()).toEqual(["encrypted", "files", "kind", "path"]);
    key.dispose();
  });

  it("refuses keys, states and deltas that lack what it would tell", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    for (const [metadata, code] of [
      [{ format: "kpop-prompt-key", key: '{"concepts":["a"],"shape":[1,2],"layers":"mid"}' }, "INVALID_KEY"],
      [
        {
          format: "kpop-prompt-key",
          key: '{"concepts":["a"],"shape":[1,2],"layers":"mid","mechanism":"concat","form":7}',
        },
        "INVALID_KEY",
      ],
      [{ format: "kpop-run-state-1", progress: '{"seconds":1}' }, "INVALID_CHECKPOINT"],
      [{ "kpop.format": "delta", "kpop.base": '{"unet":"00","vae":"00"}' }, "INVALID_CHECKPOINT"],
    ] as const) {
      writeU8File(path, { a: [1] }, metadata);
      await expect(inspect(path)).rejects.toMatchObject({ name: "KpopError", code });
    }
    const history = [{ iterations: "many", losses: { a: "b" } }];
    const progress = JSON.stringify({ iteration: 1, seconds: 1, history });
    writeU8File(path, { a: [1] }, { format: "kpop-run-state-1", progress });
    const state = await inspect(path);
    expect(state).toMatchObject({ kind: "run-state", iteration: 1 });
    expect(["iterations", "losses"].filter((name) => name in state)).toEqual([]);
  });

  it("describes any other safetensors file, and says why it is no model", async () => {
    const path = join(directory, "lora.safetensors");
    writeU8File(path, { "lora_unet_x.lora_mid.weight": [4, 2], scalar: [] }, { a: "b" });
    expect(await inspect(path)).toMatchObject({
      kind: "safetensors",
      tensors: 2,
      elements: 9,
      dtypes: { U8: 9 },
      metadata: { a: "b" },
      entries: { "lora_unet_x.lora_mid.weight": { dtype: "U8", shape: [4, 2] } },
      note: expect.stringContaining("LoRA"),
    });
  });

  it("tells a single file that does not say what it predicts, once that is told, and asks for it before", async () => {
    const path = join(temporaryDirectory(), "v2.safetensors");
    writeU8File(path, sd2());
    expect(await inspect(path)).toMatchObject({
      kind: "safetensors",
      note: expect.stringMatching(/does not say what its network predicts.*--prediction/) as string,
    });
    const told = await inspect(path, { prediction: "v" });
    expect(told).toMatchObject({ kind: "model", scheduler: { prediction_type: "v_prediction" } });
    const base = await inspect(path, { prediction: "epsilon" });
    expect(base).toMatchObject({ scheduler: { prediction_type: "epsilon" }, components: { unet: { config: { sample_size: 64 } } } }); // prettier-ignore
  });

  it.each<[string, () => string, string, RegExp]>([
    [
      "of a checkpoint that says another itself",
      () => "pocket",
      "v",
      /names itself \("epsilon"\).*leave it out/,
    ],
    ["of a delta", () => join(directory, "delta/delta.safetensors"), "v", /left out, as .* is a delta/],
    ["of a run's manifest", () => join(directory, "folder/kpop-run.json"), "v", /is a run's manifest/],
    ["that there is not", () => "pocket", "x0", /one of "epsilon", "v"/],
  ])("refuses a prediction %s", async (_, path, prediction, message) => {
    await expect(inspect(path(), { prediction: prediction as "v" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses what it does not know, each with its reason", async () => {
    const folder = temporaryDirectory();
    const at = (name: string, text = "") => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const code = (expected: string): unknown => expect.objectContaining({ code: expected });
    await expect(inspect(join(folder, "none"))).rejects.toEqual(code("NOT_FOUND"));
    await expect(inspect(at("a.ckpt"))).rejects.toEqual(code("UNSUPPORTED_FORMAT"));
    await expect(inspect(at("a.png", "not a picture"))).rejects.toThrow("nothing that can be inspected");
    await expect(inspect(at("a.safetensors", "too short"))).rejects.toEqual(code("INVALID_SAFETENSORS"));
    await expect(inspect(at("config.json", "{}"))).rejects.toThrow("is no run manifest");
    await expect(inspect(at("broken.json", "{"))).rejects.toEqual(code("INVALID_CHECKPOINT"));
    mkdirSync(join(folder, "empty"));
    await expect(inspect(join(folder, "empty"))).rejects.toEqual(code("INVALID_CHECKPOINT"));
    copyFileSync(at("b.ckpt", "x"), join(folder, "empty/weights.bin"));
    await expect(inspect(join(folder, "empty"))).rejects.toEqual(code("UNSUPPORTED_FORMAT"));
    await expect(inspect("pocket", { signal: AbortSignal.abort() })).rejects.toEqual(code("ABORTED"));
    await expect(inspect("pocket", { hsh: true } as object)).rejects.toEqual(code("INVALID_ARGUMENT"));
  });
});

import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { saveDiffusersFolder } from "../../../lib/io/checkpoint-save-folder";
import { saveSingleFile } from "../../../lib/io/checkpoint-save-single-file";
import { readTokenizer } from "../../../lib/io/checkpoint-tokenizer";
import { readHeader } from "../../../lib/io/safetensors-reader";
import { checkpointContent, differing } from "../../support/checkpoint-bytes";
import { FakeTensor } from "../../support/fake-tensor";
import { golden, pocket } from "../../support/golden";
import { sd14, sd2, TEXT, UNET, VAE, xl } from "../../support/ldm-shapes";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

function write(shapes: Record<string, number[]>, metadata?: Record<string, string>): string {
  const path = join(temporaryDirectory(), "model.safetensors");
  writeU8File(path, shapes, metadata);
  return path;
}

const swap = (from: string, to: string) =>
  Object.fromEntries(Object.entries(sd14()).map(([key, shape]) => [key.replace(from, to), shape]));

describe("a single-file checkpoint without configs", () => {
  it("is read as SD-2.x, once it is told what its network predicts", async () => {
    const path = write(sd2());
    const { unet, textEncoder, scheduler } = await readCheckpoint(path, { prediction: "v" });
    expect(unet.config).toMatchObject({
      ...{ attention_head_dim: [5, 10, 20, 20], cross_attention_dim: 1024, sample_size: 96 },
      ...{ use_linear_projection: true, transformer_layers_per_block: [1, 1, 1, 1] },
    });
    expect(textEncoder.config).toMatchObject({
      ...{ hidden_act: "gelu", hidden_size: 1024, num_attention_heads: 16, num_hidden_layers: 23 },
      architectures: ["CLIPTextModel"],
    });
    expect(scheduler["prediction_type"]).toBe("v_prediction");
    const base = await readCheckpoint(path, { prediction: "epsilon" });
    expect([base.unet.config["sample_size"], base.scheduler["prediction_type"]]).toEqual([64, "epsilon"]);
  });

  it("is read as SDXL, with transformers as deep as the file's and two text encoders", async () => {
    const { unet, vae, textEncoder, textEncoder2, scheduler } = await readCheckpoint(write(xl()));
    expect(unet.config).toMatchObject({
      ...{ addition_embed_type: "text_time", addition_time_embed_dim: 256 },
      ...{ attention_head_dim: [5, 10, 20], block_out_channels: [320, 640, 1280], cross_attention_dim: 2048 },
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      ...{ layers_per_block: 2, projection_class_embeddings_input_dim: 2816, sample_size: 128 },
      ...{ transformer_layers_per_block: [1, 2, 10], use_linear_projection: true },
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    });
    expect(vae.config).toMatchObject({ force_upcast: true, scaling_factor: 0.13025 });
    expect(textEncoder.config).toMatchObject({ hidden_act: "quick_gelu", hidden_size: 768 });
    expect(textEncoder2!.config).toMatchObject({
      architectures: ["CLIPTextModelWithProjection"],
      ...{ hidden_size: 1280, num_attention_heads: 20, num_hidden_layers: 32, projection_dim: 1280 },
    });
    expect(textEncoder2!.tensors.get("text_projection.weight")).toMatchObject({ transposed: true });
    expect(scheduler).toMatchObject({ _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading" });
    const marked = { ...xl(), v_pred: [0], ztsnr: [0] };
    expect((await readCheckpoint(write(marked))).scheduler).toMatchObject({
      ...{ prediction_type: "v_prediction", rescale_betas_zero_snr: true },
    });
  });

  it("is read as SD-1.x, its configs told from shapes", async () => {
    const { unet, vae, textEncoder, scheduler } = await readCheckpoint(write(sd14()));
    expect(unet.config).toMatchObject({
      attention_head_dim: 8,
      block_out_channels: [320, 640, 1280, 1280],
      cross_attention_dim: 768,
      down_block_types: [...Array<string>(3).fill("CrossAttnDownBlock2D"), "DownBlock2D"],
      in_channels: 4,
      layers_per_block: 2,
      norm_num_groups: 32,
      out_channels: 4,
      up_block_types: ["UpBlock2D", ...Array<string>(3).fill("CrossAttnUpBlock2D")],
    });
    expect(vae.config).toMatchObject({
      block_out_channels: [128, 256, 512, 512],
      layers_per_block: 2,
      latent_channels: 4,
    });
    expect(textEncoder.config).toMatchObject({
      hidden_size: 768,
      intermediate_size: 3072,
      max_position_embeddings: 77,
      num_attention_heads: 12,
      num_hidden_layers: 12,
      vocab_size: 2,
    });
    expect(scheduler).toMatchObject({ _class_name: "PNDMScheduler", beta_end: 0.012, steps_offset: 1 });
    expect(unet.tensors.has("down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight")).toBe(true);
    expect([...textEncoder.extra.keys()]).toEqual([`${TEXT}text_model.embeddings.position_ids`]);
  });

  it("may leave out the text_model layer", async () => {
    const { textEncoder } = await readCheckpoint(write(swap(`${TEXT}text_model.`, TEXT)));
    expect(textEncoder.tensors.has("text_model.encoder.layers.11.layer_norm1.weight")).toBe(true);
  });

  it("is read from the folder that an erasure saved it into, which says so by its manifest", async () => {
    const path = write(sd14());
    const folder = join(path, "..");
    await expect(readCheckpoint(folder)).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
    writeFileSync(join(folder, "kpop-run.json"), "{}");
    expect(await readCheckpoint(folder)).toEqual(await readCheckpoint(path));
  });

  it("keeps a key that its network has no place for, for the network to refuse", async () => {
    const { unet, vae } = await readCheckpoint(
      write({ ...sd14(), [`${UNET}label_emb.0.0.weight`]: [1], [`${VAE}loss.logvar`]: [1] }),
    );
    expect(unet.tensors.has("label_emb.0.0.weight")).toBe(true);
    expect([vae.tensors.has("loss.logvar"), vae.extra.has(`${VAE}loss.logvar`)]).toEqual([false, true]);
  });

  it.each<[string, Record<string, number[]>, string, RegExp]>([
    [
      "of XL's refiner",
      { ...sd14(), "conditioner.embedders.0.model.ln_final.weight": [1] },
      "UNSUPPORTED_MODEL",
      /refiner.*give the base model/,
    ],
    [
      "for inpainting",
      { ...sd14(), [`${UNET}input_blocks.0.0.weight`]: [320, 9, 1, 1] },
      "UNSUPPORTED_MODEL",
      /an inpainting checkpoint.*give the text-to-image model/,
    ],
    [
      "of SD-2, which does not say what it predicts",
      sd2(),
      "INVALID_ARGUMENT",
      /prediction "v".*"epsilon".*--prediction/,
    ],
    ["of SD-3", { "model.diffusion_model.joint_blocks.0.x": [1] }, "UNSUPPORTED_MODEL", /Stable Diffusion 3/],
    ["of FLUX", { "double_blocks.0.img_attn.qkv.weight": [1] }, "UNSUPPORTED_MODEL", /FLUX.*1, 2 and XL/],
    ["of an EDM model", { ...xl(), edm_mean: [4] }, "UNSUPPORTED_MODEL", /EDM/],
    ["that is a LoRA of XL", { "lora_te2_x.lora_up.weight": [1] }, "UNSUPPORTED_MODEL", /a LoRA/],
    [
      "that is a LoRA of diffusers",
      { "unet.x.lora.up.weight": [1] },
      "UNSUPPORTED_MODEL",
      /a LoRA.*load_lora_weights, fuse_lora/,
    ],
    ["that is one of its processors", { "unet.x.to_q_lora.up.weight": [1] }, "UNSUPPORTED_MODEL", /a LoRA/],
    ["that is a LoRA by PEFT", { "unet.x.to_q.lora_A.weight": [1] }, "UNSUPPORTED_MODEL", /a LoRA/],
    ["that is a LoRA by LyCORIS", { "lycoris_unet_x.lokr_w1": [1] }, "UNSUPPORTED_MODEL", /a LoRA/],
    [
      "that is a LoRA",
      { "lora_unet_down_blocks_0.lora_up.weight": [1], "lora_unet_down_blocks_0.alpha": [] },
      "UNSUPPORTED_MODEL",
      /a LoRA.*apply BASE --lora/,
    ],
    [
      "of a transformer alone",
      { "transformer_blocks.0.attn.to_q.weight": [1] },
      "UNSUPPORTED_MODEL",
      /Stable Diffusion 3/,
    ],
    [
      "of other widths",
      { ...sd14(), [`${UNET}input_blocks.0.0.weight`]: [32, 4, 1, 1] },
      "UNSUPPORTED_MODEL",
      /width 32.*diffusers folder/,
    ],
    [
      "with linear projections",
      { ...sd14(), [`${UNET}input_blocks.1.1.proj_in.weight`]: [320, 1] },
      "UNSUPPORTED_MODEL",
      /no SD-1\.x/,
    ],
    [
      "of a UNet alone",
      Object.fromEntries(Object.entries(sd14()).filter(([key]) => key.startsWith(UNET))),
      "INVALID_CHECKPOINT",
      /no tensor named first_stage_model/,
    ],
    [
      "with a block missing",
      swap("input_blocks.2.0", "none"),
      "INVALID_CHECKPOINT",
      /lacks input_blocks\.2,/,
    ],
    ["of levels that differ", swap("input_blocks.11.0", "none"), "UNSUPPORTED_MODEL", /levels differ/],
  ])("is refused when it is one %s", async (_, shapes, code, message) => {
    await expect(readCheckpoint(write(shapes))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  });

  it("takes its tokenizer from beside it, or says what to do", async () => {
    const path = write(sd14());
    const source = await readCheckpoint(path);
    await expect(readTokenizer(source)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/put CLIP's vocab\.json and merges\.txt/) as string,
    });
    mkdirSync(join(path, "../tokenizer"));
    for (const name of ["vocab.json", "merges.txt"])
      copyFileSync(pocket("tokenizer", name), join(path, "../tokenizer", name));
    expect((await readTokenizer(source)).vocab).toBe(readFileSync(pocket("tokenizer/vocab.json"), "utf8"));
  });
});

describe("saveSingleFile", () => {
  it("names tensors as the original code does, and the file carries all that loading needs", async () => {
    const source = await readCheckpoint(golden("small"));
    const path = join(temporaryDirectory(), "model.safetensors");
    await saveSingleFile(source, {}, path);
    const { tensors } = await readHeader(path);
    expect(tensors.size).toBe(324 + 152 + 37);
    expect(tensors.get(`${VAE}encoder.mid.attn_1.q.weight`)?.shape).toEqual([32, 32, 1, 1]);
    expect(tensors.get(`${UNET}input_blocks.1.1.proj_in.weight`)?.shape).toEqual([32, 32, 1, 1]);
    expect(tensors.has(`${TEXT}text_model.embeddings.position_ids`)).toBe(true);
    const loaded = await readCheckpoint(path);
    expect(loaded.format).toBe("single-file");
    for (const part of ["unet", "vae", "textEncoder"] as const)
      expect(loaded[part].config).toEqual(source[part].config);
    expect(loaded.scheduler).toEqual(source.scheduler);
    expect(await checkpointContent(loaded)).toEqual(await checkpointContent(source));
    const [before, after] = [await readTokenizer(source), await readTokenizer(loaded)];
    expect(after.merges).toBe(before.merges);
    expect(JSON.parse(after.vocab!)).toEqual(JSON.parse(before.vocab!));
    expect(after.config).toBe(before.config);
  });

  it("turns into a folder again, and back, without a changed bit", async () => {
    const source = await readCheckpoint(pocket());
    const [a, b, c] = ["a.safetensors", "b", "c.safetensors"].map((name) =>
      join(temporaryDirectory(), name),
    ) as [string, string, string];
    await saveSingleFile(source, {}, a);
    await saveDiffusersFolder(await readCheckpoint(a), {}, b);
    await saveSingleFile(await readCheckpoint(b), {}, c);
    expect(await checkpointContent(await readCheckpoint(b))).toEqual(await checkpointContent(source));
    expect(await checkpointContent(await readCheckpoint(c))).toEqual(await checkpointContent(source));
    expect(await readTokenizer(await readCheckpoint(b))).toMatchObject({
      merges: (await readTokenizer(source)).merges,
    });
  });

  it("changes only the tensors given, whatever the layouts", async () => {
    const key = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.weight";
    const attention = "decoder.mid_block.attentions.0.to_v.weight";
    const source = await readCheckpoint(pocket());
    const value = (shape: readonly number[]) =>
      new FakeTensor(shape, "float16", new Uint8Array(shape.reduce((x, y) => x * y, 2)).fill(5));
    const changed = {
      unet: new Map([[key, value(source.unet.tensors.get(key)!.shape)]]),
      vae: new Map([[attention, value([64, 64])]]),
    };
    const before = await checkpointContent(source);
    const file = join(temporaryDirectory(), "a.safetensors");
    await saveSingleFile(source, changed, file);
    const single = await readCheckpoint(file);
    const expected = [`unet ${key}`, `vae ${attention}`];
    expect(differing(await checkpointContent(single), before)).toEqual(expected);
    const plain = join(temporaryDirectory(), "b.safetensors");
    await saveSingleFile(source, {}, plain);
    const again = join(temporaryDirectory(), "c.safetensors");
    await saveSingleFile(await readCheckpoint(plain), changed, again);
    expect(readFileSync(again).equals(readFileSync(file))).toBe(true);
    const folder = join(temporaryDirectory(), "d");
    await saveDiffusersFolder(await readCheckpoint(plain), changed, folder);
    expect(differing(await checkpointContent(await readCheckpoint(folder)), before)).toEqual(expected);
  });

  it("copies everything else of a single file along", async () => {
    const path = write(sd14(), { note: "kept" });
    const out = join(temporaryDirectory(), "out.safetensors");
    await saveSingleFile(await readCheckpoint(path), {}, out);
    expect(readFileSync(out).equals(readFileSync(path))).toBe(true);
  });

  it("puts the tokenizer found beside a single file into the copy", async () => {
    const path = write(sd14(), { note: "kept" });
    for (const name of ["vocab.json", "merges.txt"])
      copyFileSync(pocket("tokenizer", name), join(path, "..", name));
    const out = join(temporaryDirectory(), "out.safetensors");
    await saveSingleFile(await readCheckpoint(path), {}, out);
    const loaded = await readCheckpoint(out);
    expect(loaded.unet.files[0]!.header.metadata.get("note")).toBe("kept");
    expect((await readTokenizer(loaded)).merges).toBe(readFileSync(pocket("tokenizer/merges.txt"), "utf8"));
    expect(await checkpointContent(loaded)).toEqual(await checkpointContent(await readCheckpoint(path)));
  });

  it("does not overwrite a file unless told to", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    writeFileSync(path, "mine");
    const source = await readCheckpoint(pocket());
    await expect(saveSingleFile(source, {}, path)).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    await saveSingleFile(source, {}, path, { force: true });
    expect(statSync(path).size).toBeGreaterThan(10_000_000);
  });

  it.each([
    ["kpop.config", "{"],
    ["kpop.config", '{"unet":{}}'],
  ])("is refused on reading when %s is damaged: %s", async (key, text) => {
    await expect(readCheckpoint(write(sd14(), { [key]: text }))).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
    });
  });
});

import { copyFileSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { KpopError } from "../../../lib/errors";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { readTokenizer } from "../../../lib/io/checkpoint-tokenizer";
import { checkFamily } from "../../../lib/io/checkpoint-family";
import { weightFiles, type ComponentSource } from "../../../lib/io/checkpoint-types";
import { golden, pocket } from "../../support/golden";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

const UNET = "diffusion_pytorch_model.safetensors";

function changeConfig(path: string, part: string, more: object): void {
  const file = join(path, part, "config.json");
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, "utf8")) as object), ...more }));
}

/** A diffusers folder of three one-tensor networks, then changed by `alter`. */
function folder(alter: (path: string) => void = () => undefined): string {
  const path = join(temporaryDirectory(), "model");
  const write = (name: string, value: unknown) => writeFileSync(join(path, name), JSON.stringify(value));
  for (const part of ["unet", "vae", "text_encoder", "scheduler"])
    mkdirSync(join(path, part), { recursive: true });
  write("model_index.json", { _class_name: "StableDiffusionPipeline" });
  write("unet/config.json", { _class_name: "UNet2DConditionModel" });
  write("vae/config.json", { _class_name: "AutoencoderKL" });
  write("text_encoder/config.json", { architectures: ["CLIPTextModel"] });
  write("scheduler/scheduler_config.json", { _class_name: "PNDMScheduler" });
  writeU8File(join(path, "unet", UNET), { "conv_in.weight": [2, 2], "conv_in.bias": [2] });
  writeU8File(join(path, "vae", UNET), { "quant_conv.bias": [1] });
  writeU8File(join(path, "text_encoder/model.safetensors"), { "text_model.final_layer_norm.bias": [1] });
  alter(path);
  return path;
}

async function refusal(path: string): Promise<{ code: string; message: string }> {
  const error: unknown = await readCheckpoint(path).then(
    () => new Error("it was accepted"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KpopError);
  return error as KpopError;
}

/** Splits the folder's UNet into shards named as given. */
function shard(path: string, names: [string, string], map: Record<string, string>, index: string): void {
  rmSync(join(path, "unet", UNET));
  writeU8File(join(path, "unet", names[0]), { "conv_in.weight": [2, 2] });
  writeU8File(join(path, "unet", names[1]), { "conv_in.bias": [2] });
  writeFileSync(join(path, "unet", index), JSON.stringify({ weight_map: map }));
}

describe("readCheckpoint on a diffusers folder", () => {
  it("finds configs, tensors and tokenizer of the golden checkpoint", async () => {
    const source = await readCheckpoint(golden("small"));
    expect(source).toMatchObject({ format: "diffusers", path: golden("small") });
    expect(source.unet.config["block_out_channels"]).toEqual([32, 64, 64]);
    expect(source.scheduler["beta_schedule"]).toBe("scaled_linear");
    expect([source.unet.tensors.size, source.vae.tensors.size, source.textEncoder.tensors.size]).toEqual([
      324, 152, 36,
    ]);
    expect(weightFiles(source).map(({ name }) => name)).toEqual([UNET, UNET, "model.safetensors"]);
    const { vocab, merges } = await readTokenizer(source);
    expect(JSON.parse(vocab!)).toMatchObject({ "<|endoftext|>": 49407 });
    expect(merges).toMatch(/^#version/);
  });

  it("gives the old attention names of SD-1.4's autoencoder today's", async () => {
    const { vae } = await readCheckpoint(golden("small"));
    const site = "encoder.mid_block.attentions.0";
    expect(vae.tensors.get(`${site}.to_out.0.weight`)?.key).toBe(`${site}.proj_attn.weight`);
    for (const [name, old] of [
      ["to_q", "query"],
      ["to_k", "key"],
      ["to_v", "value"],
    ] as const) {
      expect(vae.tensors.get(`${site}.${name}.bias`)?.key).toBe(`${site}.${old}.bias`);
    }
    expect([...vae.tensors.keys()].filter((key) => /query|proj_attn/.test(key))).toEqual([]);
  });

  it("sets buffers apart that no network uses", async () => {
    const { textEncoder } = await readCheckpoint(golden("small"));
    expect([...textEncoder.extra.keys()]).toEqual(["text_model.embeddings.position_ids"]);
  });

  it("reads newer text encoders without the text_model layer", async () => {
    const path = folder((at) => {
      writeU8File(join(at, "text_encoder/model.safetensors"), {
        "embeddings.position_ids": [1],
        "embeddings.token_embedding.weight": [2, 1],
        "encoder.layers.0.mlp.fc1.bias": [1],
        "final_layer_norm.bias": [1],
      });
    });
    const { tensors, extra } = (await readCheckpoint(path)).textEncoder;
    expect([...tensors.keys()]).toEqual([
      "text_model.embeddings.token_embedding.weight",
      "text_model.encoder.layers.0.mlp.fc1.bias",
      "text_model.final_layer_norm.bias",
    ]);
    expect([...extra.keys()]).toEqual(["embeddings.position_ids"]);
  });

  it("reads DPM-Solver's config as Python writes it, with an infinity that is no JSON", async () => {
    const path = folder();
    const config = (limit: string): string =>
      `{\n  "_class_name": "DPMSolverMultistepScheduler",\n  "lambda_min_clipped": ${limit},\n  "solver_order": 2\n}\n`;
    const file = join(path, "scheduler/scheduler_config.json");
    writeFileSync(file, config("-Infinity"));
    const { scheduler } = await readCheckpoint(path);
    expect(scheduler).toEqual({ _class_name: "DPMSolverMultistepScheduler", solver_order: 2 });
    writeFileSync(file, config("Infinity"));
    expect((await refusal(path)).message).toMatch(/scheduler_config\.json is not JSON/);
  });

  it("reads shards", async () => {
    const names: [string, string] = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"];
    const map = { "conv_in.weight": names[0], "conv_in.bias": names[1] };
    const source = await readCheckpoint(folder((at) => shard(at, names, map, `${UNET}.index.json`)));
    expect(source.unet.files.map(({ name }) => name)).toEqual(names);
    expect(source.unet.tensors.get("conv_in.bias")?.file).toBe(join(source.path, "unet", names[1]));
  });

  it.each([
    "../m.safetensors",
    "/tmp/m.safetensors",
    "..",
    "a/m.safetensors",
    "a\\m.safetensors",
    "m.bin",
    3,
  ])("refuses an index that names the shard %j", async (name) => {
    const at = folder((path) => {
      const names: [string, string] = ["a.safetensors", "b.safetensors"];
      shard(path, names, { "conv_in.weight": name as string }, `${UNET}.index.json`);
    });
    const { code, message } = await refusal(at);
    expect(code).toBe("INVALID_CHECKPOINT");
    expect(message).toContain(JSON.stringify(name));
  });

  it("refuses an index that disagrees with its shards", async () => {
    const names: [string, string] = ["a.safetensors", "b.safetensors"];
    const map = { "conv_in.weight": names[1], "conv_in.bias": names[1] };
    const at = folder((path) => shard(path, names, map, `${UNET}.index.json`));
    expect(await refusal(at)).toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/1 tensors missing, 0 unexpected \(conv_in\.weight\)/) as string,
    });
  });

  it("takes a variant where there is no plain file, and saves it under the plain name", async () => {
    const mark = (path: string, name: string) =>
      renameSync(join(path, "unet", UNET), join(path, "unet", `diffusion_pytorch_model.${name}.safetensors`));
    for (const name of ["fp16", "bf16"]) {
      const { files } = (await readCheckpoint(folder((path) => mark(path, name)))).unet;
      expect(files).toMatchObject([{ name: UNET, path: expect.stringContaining(name) as string }]);
    }
    const both = folder((path) => {
      copyFileSync(join(path, "unet", UNET), join(path, "unet", "diffusion_pytorch_model.ema.safetensors"));
      mark(path, "bf16");
    });
    expect(await refusal(both)).toMatchObject({ code: "INVALID_CHECKPOINT" });
    const plain = folder((path) => {
      copyFileSync(join(path, "unet", UNET), join(path, "unet", "diffusion_pytorch_model.fp16.safetensors"));
    });
    expect((await readCheckpoint(plain)).unet.files[0]!.path).toMatch(/model\.safetensors$/);
  });

  it.each([
    [
      "diffusion_pytorch_model.safetensors.index.fp16.json",
      "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
    ],
    [
      "diffusion_pytorch_model.fp16.safetensors.index.json",
      "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    ],
  ])("takes a sharded variant named by %s", async (index, first) => {
    const names: [string, string] = [first, first.replace("00001", "00002")];
    const map = { "conv_in.weight": names[0], "conv_in.bias": names[1] };
    const { files } = (await readCheckpoint(folder((path) => shard(path, names, map, index)))).unet;
    expect(files.map(({ name }) => name)).toEqual([
      "diffusion_pytorch_model-00001-of-00002.safetensors",
      "diffusion_pytorch_model-00002-of-00002.safetensors",
    ]);
  });

  it.each<[string, (path: string) => void, string, RegExp]>([
    [
      "no model_index.json",
      (p) => rmSync(join(p, "model_index.json")),
      "INVALID_CHECKPOINT",
      /no model_index\.json/,
    ],
    [
      "no scheduler",
      (p) => rmSync(join(p, "scheduler"), { recursive: true }),
      "INVALID_CHECKPOINT",
      /scheduler\/scheduler_config\.json is missing/,
    ],
    [
      "no config",
      (p) => rmSync(join(p, "vae/config.json")),
      "INVALID_CHECKPOINT",
      /vae\/config\.json is missing/,
    ],
    ["no weights", (p) => rmSync(join(p, "unet", UNET)), "INVALID_CHECKPOINT", /Expected the weights/],
    [
      "a config that is no JSON",
      (p) => writeFileSync(join(p, "unet/config.json"), "{"),
      "INVALID_CHECKPOINT",
      /unet\/config\.json is not JSON/,
    ],
    [
      "a config that is a list",
      (p) => writeFileSync(join(p, "unet/config.json"), "[]"),
      "INVALID_CHECKPOINT",
      /JSON object/,
    ],
    ["damaged weights", (p) => writeFileSync(join(p, "unet", UNET), "xx"), "INVALID_SAFETENSORS", /unet/],
    [
      "another pipeline",
      (p) => writeFileSync(join(p, "model_index.json"), '{"_class_name":"PixArtAlphaPipeline"}'),
      "UNSUPPORTED_MODEL",
      /a PixArtAlphaPipeline; expected a pipeline of Stable Diffusion 1, 2 or XL/,
    ],
    ...(
      [
        [
          "Stable Diffusion 3",
          { _class_name: "StableDiffusion3Pipeline" },
          /Stable Diffusion 3.*1, 2 and XL/,
        ],
        ["FLUX", { _class_name: "FluxPipeline" }, /FLUX.*1, 2 and XL/],
        [
          "XL's refiner",
          { _class_name: "StableDiffusionXLImg2ImgPipeline", text_encoder: [null, null] },
          /refiner.*base/,
        ],
        [
          "XL's refiner, whose index has no first encoder",
          { _class_name: "StableDiffusionXLPipeline" },
          /refiner.*base/,
        ],
      ] as const
    ).map(([what, index, message]): [string, (p: string) => void, string, RegExp] => [
      what,
      (p) => writeFileSync(join(p, "model_index.json"), JSON.stringify(index)),
      "UNSUPPORTED_MODEL",
      message,
    ]),
    [
      "an autoencoder of another family",
      (p) => changeConfig(p, "vae", { latent_channels: 16 }),
      "INVALID_CHECKPOINT",
      /several families: the UNet reads latents of 4 channels, and the autoencoder's have 16/,
    ],
    [
      "an inpainting UNet",
      (p) => changeConfig(p, "unet", { in_channels: 9 }),
      "UNSUPPORTED_MODEL",
      /an inpainting checkpoint.*give the text-to-image model/,
    ],
    [
      "a UNet that is shown depth",
      (p) => changeConfig(p, "unet", { in_channels: 5 }),
      "UNSUPPORTED_MODEL",
      /takes 5 channels, and not the 4 of latents.*give a text-to-image model/,
    ],
    [
      "XL's UNet among networks of Stable Diffusion 1",
      (p) => changeConfig(p, "unet", { addition_embed_type: "text_time" }),
      "INVALID_CHECKPOINT",
      /several families.*second text encoder/,
    ],
    [
      "a text encoder of another width",
      (p) => {
        changeConfig(p, "unet", { cross_attention_dim: 768 });
        changeConfig(p, "text_encoder", { hidden_size: 1024 });
      },
      "INVALID_CHECKPOINT",
      /several families.*give 1024/,
    ],
    [
      "a pipeline without a name",
      (p) => writeFileSync(join(p, "model_index.json"), "{}"),
      "UNSUPPORTED_MODEL",
      /is a pipeline whose model_index\.json names no class; expected/,
    ],
    [
      "another UNet",
      (p) => writeFileSync(join(p, "unet/config.json"), '{"_class_name":"UNet3D"}'),
      "UNSUPPORTED_MODEL",
      /UNet3D/,
    ],
    [
      "another text encoder",
      (p) => writeFileSync(join(p, "text_encoder/config.json"), '{"architectures":["T5"]}'),
      "UNSUPPORTED_MODEL",
      /T5/,
    ],
    [
      "pickled weights only",
      (p) => renameSync(join(p, "unet", UNET), join(p, "unet/diffusion_pytorch_model.bin")),
      "UNSUPPORTED_FORMAT",
      /runs whatever code/,
    ],
    [
      "one tensor under two names",
      (p) =>
        writeU8File(join(p, "vae", UNET), {
          "encoder.mid_block.attentions.0.query.bias": [1],
          "encoder.mid_block.attentions.0.to_q.bias": [1],
        }),
      "INVALID_CHECKPOINT",
      /to_q\.bias twice/,
    ],
  ])("refuses %s", async (_, alter, code, message) => {
    const error = await refusal(folder(alter));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it("points to the file when a folder holds a single-file checkpoint", async () => {
    const at = temporaryDirectory();
    writeU8File(join(at, "model.safetensors"), { a: [1] });
    expect((await refusal(at)).message).toMatch(/to load model\.safetensors, give the path of that file/);
  });

  it.each([
    ["delta", "UNSUPPORTED_FORMAT", /is a delta.*StableDiffusion\.load\(model, \{ delta \}\).*MODEL --delta/],
    ["lora", "UNSUPPORTED_MODEL", /is a LoRA.*apply BASE --lora .* --out MODEL.*applyLora\(model, path\)/],
  ])("says what to do with the folder of a %s, as with its file", async (kind, code, message) => {
    const at = temporaryDirectory();
    const file = join(at, `${kind}.safetensors`);
    writeU8File(file, { "lora_unet_a.lora_up.weight": [1] }, { "kpop.format": kind });
    writeFileSync(join(at, "kpop-run.json"), "{}");
    for (const path of [at, file]) {
      const refused = await refusal(path);
      expect(refused).toMatchObject({ code, message: expect.stringMatching(message) as string });
      expect(refused.message.startsWith(`${path} is a`)).toBe(true);
    }
  });

  it.each(["pytorch_lora_weights", "adapter_model"])(
    "names the folder of another tool's LoRA: %s",
    async (name) => {
      const at = temporaryDirectory();
      writeU8File(join(at, `${name}.safetensors`), { "unet.a.lora_A.weight": [1] });
      expect(await refusal(at)).toMatchObject({
        code: "UNSUPPORTED_MODEL",
        message: expect.stringMatching(/is a LoRA.*in diffusers by load_lora_weights, fuse_lora/) as string,
      });
    },
  );

  it("takes nothing for pickled weights that is called .bin alone, as a folder in node_modules is", async () => {
    const at = temporaryDirectory();
    mkdirSync(join(at, ".bin"));
    expect((await refusal(at)).message).toMatch(/no model_index\.json/);
    writeFileSync(join(at, "a.bin"), "");
    expect((await refusal(at)).message).toMatch(/a\.bin holds pickled weights/);
  });
});

describe("readCheckpoint on other paths", () => {
  it("says that nothing is there", async () => {
    expect(await refusal(join(temporaryDirectory(), "none"))).toMatchObject({ code: "NOT_FOUND" });
  });

  it.each([
    ["a.ckpt", Buffer.from("anything")],
    ["a.pt", Buffer.from("anything")],
    ["renamed.safetensors", Buffer.from("PK\x03\x04zip")],
    ["renamed.safetensors", Buffer.from([0x80, 2, 0x63, 0, 0, 0, 0, 0, 0])],
  ])("refuses pickles, by name and by content: %s", async (name, content) => {
    const path = join(temporaryDirectory(), name);
    writeFileSync(path, content);
    expect(await refusal(path)).toMatchObject({
      code: "UNSUPPORTED_FORMAT",
      message: expect.stringMatching(/unpickling runs whatever code.*save_pretrained/) as string,
    });
  });

  it("does not take a header length of 640 for a pickle", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const header = JSON.stringify({ a: { dtype: "U8", shape: [1], data_offsets: [0, 1] } }).padEnd(640);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(640n);
    expect([...length.subarray(0, 2)]).toEqual([0x80, 2]);
    writeFileSync(path, Buffer.concat([length, Buffer.from(header), Buffer.alloc(1)]));
    expect((await refusal(path)).message).toMatch(/no complete single-file checkpoint/);
  });

  it("reads the built-in model", async () => {
    const source = await readCheckpoint(pocket());
    expect(source.textEncoder.config["max_position_embeddings"]).toBe(24);
    expect(Object.keys(JSON.parse((await readTokenizer(source)).vocab!) as object)).toHaveLength(725);
  });

  it("takes a tokenizer.json where vocab and merges are not there", async () => {
    const at = join(temporaryDirectory(), "model");
    cpSync(pocket(), at, { recursive: true });
    rmSync(join(at, "tokenizer/vocab.json"));
    const source = await readCheckpoint(at);
    await expect(readTokenizer(source)).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
    writeFileSync(join(at, "tokenizer/tokenizer.json"), "{}");
    expect(await readTokenizer(source)).toMatchObject({
      tokenizer: "{}",
      merges: readFileSync(pocket("tokenizer/merges.txt"), "utf8"),
    });
  });
});

describe("networks of Stable Diffusion XL", () => {
  const part = (config: object): ComponentSource =>
    ({ config, tensors: new Map(), extra: new Map(), files: [] }) as ComponentSource;
  const xl = (more: object = {}) => ({
    unet: part({
      ...{ addition_embed_type: "text_time", addition_time_embed_dim: 256 },
      ...{ projection_class_embeddings_input_dim: 2816, cross_attention_dim: 2048, ...more },
    }),
    vae: part({}),
    textEncoder: part({ hidden_size: 768 }),
    textEncoder2: part({ hidden_size: 1280, projection_dim: 1280 }),
  });

  it("belong together where their widths do", () => {
    expect(() => checkFamily("x", xl())).not.toThrow();
  });

  it.each([
    [{ cross_attention_dim: 1280 }, /token states of 1280 numbers.*give 2048/],
    [{ projection_class_embeddings_input_dim: 2560 }, /pooled texts of 1024 numbers.*give 1280/],
    [{ addition_embed_type: null }, /two text encoders.*not XL's/],
  ])("are refused as mixed where they do not: %j", (more, message) => {
    expect(() => checkFamily("x", xl(more))).toThrow(
      expect.objectContaining({
        code: "INVALID_CHECKPOINT",
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});

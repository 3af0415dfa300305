import type { KpopError } from "../../../lib/index";
import { parseHubName } from "../../../lib/hub/hub-name";
import { neededFiles } from "../../../lib/io/needed-files";

const TOKENIZER = ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"];

/** As CompVis/stable-diffusion-v1-4 has them. */
const SD14 = [
  ".gitattributes",
  "README.md",
  "feature_extractor/preprocessor_config.json",
  "model_index.json",
  "safety_checker/config.json",
  "safety_checker/model.safetensors",
  "safety_checker/pytorch_model.bin",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder/model.fp16.safetensors",
  "text_encoder/model.safetensors",
  "text_encoder/pytorch_model.bin",
  ...TOKENIZER.map((name) => `tokenizer/${name}`),
  "unet/config.json",
  "unet/diffusion_pytorch_model.bin",
  "unet/diffusion_pytorch_model.fp16.safetensors",
  "unet/diffusion_pytorch_model.non_ema.safetensors",
  "unet/diffusion_pytorch_model.safetensors",
  "vae/config.json",
  "vae/diffusion_pytorch_model.safetensors",
  "v1-4.ckpt",
  "v1-4-pruned.safetensors",
];

const needed = (files: readonly string[], name = "hf:me/model"): string[] =>
  neededFiles(files, parseHubName("name", name)).sort();

function refusal(files: readonly string[], name?: string): KpopError {
  try {
    needed(files, name);
  } catch (error) {
    return error as KpopError;
  }
  throw new Error("Nothing was refused");
}

describe("what of a repository is downloaded", () => {
  it("is of a pipeline one variant of each network, tokenizer, scheduler and documents", () => {
    expect(needed(SD14)).toEqual(
      [
        "README.md",
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        ...TOKENIZER.map((name) => `tokenizer/${name}`),
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
      ].sort(),
    );
  });

  it("is of Stable Diffusion XL the second text encoder and tokenizer too", () => {
    const second = [
      "text_encoder_2/config.json",
      "text_encoder_2/model.safetensors",
      "tokenizer_2/vocab.json",
    ];
    expect(needed([...SD14, ...second])).toEqual([...needed(SD14), ...second].sort());
  });

  it("is the same in a subfolder, and nothing beside it", () => {
    const below = [...SD14.map((file) => `v1/${file}`), ...SD14];
    expect(needed(below, "hf:me/model/v1")).toEqual(needed(SD14).map((file) => `v1/${file}`));
  });

  it("is the half-precision variant where there is no other, and all shards of an index", () => {
    const half = SD14.filter((file) => !/(?:model|non_ema)\.safetensors$/.test(file));
    expect(needed(half)).toContain("unet/diffusion_pytorch_model.fp16.safetensors");
    const index = "unet/diffusion_pytorch_model.safetensors.index.json";
    const shards = ["1-of-00002", "2-of-00002"].map(
      (n) => `unet/diffusion_pytorch_model-0000${n}.safetensors`,
    );
    const others = shards.map((file) => file.replace("model-", "model.fp16-"));
    const sharded = [...half, index, ...shards, ...others];
    expect(needed(sharded).filter((file) => file.startsWith("unet/"))).toEqual(
      [index, ...shards, "unet/config.json"].sort(),
    );
  });

  it("is of a file the tokenizer, class names and manifest that may lie beside it", () => {
    expect(needed([...SD14, "v1-4-pruned.json"], "hf:me/model/v1-4-pruned.safetensors")).toEqual(
      ["v1-4-pruned.json", "v1-4-pruned.safetensors", ...TOKENIZER.map((name) => `tokenizer/${name}`)].sort(),
    );
    expect(needed(["sub/lora.safetensors", "vocab.json"], "hf:me/model/sub/lora.safetensors")).toEqual([
      "sub/lora.safetensors",
    ]);
  });

  it("is what an erasure saved: a delta, a LoRA, one file", () => {
    for (const file of ["delta.safetensors", "lora.safetensors", "model.safetensors"])
      expect(needed([file, "kpop-run.json", "README.md", "other.bin"])).toEqual(
        [file, "kpop-run.json", "README.md"].sort(),
      );
  });

  it("is of a CLIP the model, the tokenizer and how pictures are prepared", () => {
    const clip = ["config.json", "model.safetensors", "preprocessor_config.json", ...TOKENIZER];
    expect(needed([...clip, "flax_model.msgpack", "pytorch_model.bin", "tf_model.h5"])).toEqual(clip.sort());
  });

  it.each([
    [
      ["config.json", "pytorch_model.bin"],
      "UNSUPPORTED_FORMAT",
      "hf:me/model/pytorch_model.bin holds pickled",
    ],
    [
      SD14.filter((file) => !/^unet.*safetensors$/.test(file)),
      "UNSUPPORTED_FORMAT",
      "hf:me/model/unet/diffusion_pytorch_model.bin holds pickled",
    ],
    [
      ["a.safetensors", "b.safetensors"],
      "NOT_FOUND",
      "name one of its files, as in hf:me/model/a.safetensors",
    ],
    [["notes.md"], "NOT_FOUND", "has no model_index.json, no saved erasure"],
    [[], "NOT_FOUND", "There is no file in hf:me/model"],
    [
      ["model_index.json", "transformer/config.json", "vae/diffusion_pytorch_model.safetensors"],
      "UNSUPPORTED_MODEL",
      "hf:me/model is a pipeline without a UNet",
    ],
  ])("is nothing of %j: %s", (files, code, words) => {
    const error = refusal(files);
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(words)]);
  });
});

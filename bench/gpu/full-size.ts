import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  AutoencoderKL,
  CLIPTextModel,
  Random,
  safetensors,
  scope,
  UNet2DConditionModel,
  type Tensor,
} from "../../lib/index";
import { writeIndex } from "../../examples/train-pocket/checkpoint-folder";
import { writeJson } from "../../examples/train-pocket/files";
import { TOKENIZER } from "./golden";

const LEVELS = 4;

/** Stable Diffusion 1.4's configurations, every field that decides a shape. */
const UNET = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  cross_attention_dim: 768,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  sample_size: 64,
};
const VAE = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(LEVELS).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(LEVELS).fill("UpDecoderBlock2D"),
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  sample_size: 512,
  scaling_factor: 0.18215,
};
const TEXT = {
  architectures: ["CLIPTextModel"],
  model_type: "clip_text_model",
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 77,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
  projection_dim: 768,
  bos_token_id: 49406,
  eos_token_id: 49407,
  pad_token_id: 49407,
};

/** Half the gain that keeps a variance, so that activations stay finite in float16 through all residuals. */
const GAIN = 0.5;

/** Writes a diffusers folder of Stable Diffusion 1.4's architecture with random weights in float16, from one seed. */
export async function writeFullSize(folder: string): Promise<void> {
  const random = new Random(0);
  for (const [name, file, network, config] of [
    ["unet", "diffusion_pytorch_model.safetensors", new UNet2DConditionModel(UNET), UNET],
    ["vae", "diffusion_pytorch_model.safetensors", new AutoencoderKL(VAE), VAE],
    ["text_encoder", "model.safetensors", new CLIPTextModel(TEXT), TEXT],
  ] as const) {
    await mkdir(join(folder, name), { recursive: true });
    await writeJson(join(folder, name, "config.json"), config);
    await scope(async () => {
      const weights = new Map<string, Tensor>();
      for (const [key, shape] of Object.entries(network.parameterShapes()))
        weights.set(key, await scope(() => drawn(key, shape, random.at(name, key)).settled()));
      await safetensors.save(join(folder, name, file), weights, { format: "pt" });
    });
    network.dispose();
  }
  await cp(TOKENIZER, join(folder, "tokenizer"), { recursive: true });
  await writeIndex(folder);
}

function drawn(key: string, shape: readonly number[], random: Random): Tensor {
  const noise = random.normal(shape);
  if (shape.length < 2)
    return noise
      .mul(0.02)
      .add(key.endsWith("weight") ? 1 : 0)
      .to("float16");
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  const deviation = key.includes("embedding.weight") ? 0.02 : GAIN / Math.sqrt(fanIn);
  return noise.mul(deviation).to("float16");
}

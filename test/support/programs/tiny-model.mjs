import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  Random,
  safetensors,
  UNet2DConditionModel,
} from "../../../dist/index.js";

const POCKET = fileURLToPath(new URL("../../../models/pocket/", import.meta.url));
const { vocab_size, bos_token_id, eos_token_id, pad_token_id } = JSON.parse(
  readFileSync(join(POCKET, "text_encoder", "config.json"), "utf8"),
);
const attention = (side) => `CrossAttn${side}Block2D`;

const PARTS = {
  unet: [
    UNet2DConditionModel,
    "diffusion_pytorch_model",
    {
      _class_name: "UNet2DConditionModel",
      ...{ sample_size: 16, in_channels: 4, out_channels: 4, layers_per_block: 1, norm_num_groups: 4 },
      ...{ block_out_channels: [16, 32], cross_attention_dim: 8, attention_head_dim: 2 },
      ...{
        down_block_types: [attention("Down"), "DownBlock2D"],
        up_block_types: ["UpBlock2D", attention("Up")],
      },
    },
  ],
  vae: [
    AutoencoderKL,
    "diffusion_pytorch_model",
    {
      _class_name: "AutoencoderKL",
      ...{
        sample_size: 32,
        latent_channels: 4,
        block_out_channels: [4, 4],
        norm_num_groups: 2,
        layers_per_block: 1,
      },
      down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
      up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    },
  ],
  text_encoder: [
    CLIPTextModel,
    "model",
    {
      ...{ architectures: ["CLIPTextModel"], model_type: "clip_text_model", vocab_size, hidden_size: 8 },
      ...{ intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 24 },
      ...{ bos_token_id, eos_token_id, pad_token_id, hidden_act: "quick_gelu" },
    },
  ],
};

/** Writes a checkpoint of random weights, 0.9 MB of them, with the built-in model's tokenizer, and gives its
 *  folder, which goes with the process. */
export async function writeTinyModel() {
  const folder = mkdtempSync(join(tmpdir(), "kpop-tiny-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const name of ["model_index.json", "scheduler", "tokenizer"]) {
    cpSync(join(POCKET, name), join(folder, name), { recursive: true });
  }
  for (const [part, [Network, file, config]] of Object.entries(PARTS)) {
    mkdirSync(join(folder, part));
    writeFileSync(join(folder, part, "config.json"), JSON.stringify(config));
    const network = new Network(config);
    const weights = {};
    for (const [index, [name, shape]] of Object.entries(network.parameterShapes()).entries()) {
      weights[name] = new Random(index).normal(shape).mul(0.1);
    }
    await safetensors.save(join(folder, part, `${file}.safetensors`), weights);
    network.dispose();
  }
  return folder;
}

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
import { ARCHITECTURES, type Family } from "./architectures";
import { TOKENIZER } from "./golden";

const WEIGHTS = "diffusion_pytorch_model.safetensors";

/** Half the gain that keeps a variance, so that activations stay finite in float16 through all residuals. */
const GAIN = 0.5;

/** Writes a diffusers folder of a family's architecture with random weights in float16, from one seed. */
export async function writeFullSize(folder: string, family: Family = "1.4"): Promise<void> {
  const architecture = ARCHITECTURES[family];
  const random = new Random(0);
  const { unet, vae, texts, padding } = architecture;
  for (const [name, config] of Object.entries({ unet, vae, ...texts })) {
    await mkdir(join(folder, name), { recursive: true });
    await writeJson(join(folder, name, "config.json"), config);
    const Network = { unet: UNet2DConditionModel, vae: AutoencoderKL }[name] ?? CLIPTextModel;
    const network = new Network(config);
    const file = Network === CLIPTextModel ? "model.safetensors" : WEIGHTS;
    await scope(async () => {
      const weights = new Map<string, Tensor>();
      for (const [key, shape] of Object.entries(network.parameterShapes()))
        weights.set(key, await scope(() => drawn(key, shape, random.at(name, key)).settled()));
      await safetensors.save(join(folder, name, file), weights, { format: "pt" });
    });
    network.dispose();
  }
  for (const [name, pad] of Object.entries(padding)) await writeTokenizer(join(folder, name), pad);
  await writeIndex(folder, architecture);
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

/** CLIP's whole vocabulary. */
async function writeTokenizer(folder: string, padding: string): Promise<void> {
  await cp(TOKENIZER, folder, { recursive: true });
  const end = "<|endoftext|>";
  await writeJson(join(folder, "special_tokens_map.json"), {
    bos_token: "<|startoftext|>",
    eos_token: end,
    pad_token: padding,
    unk_token: end,
  });
}

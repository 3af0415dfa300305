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
import { writeJson } from "../../examples/train-pocket/files";
import { ARCHITECTURES, type Architecture, type Family } from "./architectures";
import { TOKENIZER } from "./golden";

const WEIGHTS = "diffusion_pytorch_model.safetensors";

/** Half the gain that keeps a variance, so that activations stay finite in float16 through all residuals. */
const GAIN = 0.5;

/** Writes a diffusers folder of a family's architecture with random weights in float16, from one seed. */
export async function writeFullSize(folder: string, family: Family = "1.4"): Promise<void> {
  const architecture = ARCHITECTURES[family];
  const random = new Random(0);
  for (const [name, config] of Object.entries(architecture.networks)) {
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
  for (const [name, padding] of Object.entries(architecture.padding))
    await writeTokenizer(join(folder, name), padding);
  await mkdir(join(folder, "scheduler"), { recursive: true });
  await writeJson(join(folder, "scheduler", "scheduler_config.json"), architecture.scheduler);
  await writeJson(join(folder, "model_index.json"), indexOf(architecture));
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

/** What diffusers finds the parts by. */
function indexOf({ networks, padding, pipeline, scheduler }: Architecture): object {
  const texts = Object.entries(networks).flatMap(([name, { architectures }]) =>
    Array.isArray(architectures) ? [[name, ["transformers", architectures[0] as string]]] : [],
  );
  const tokenizers = Object.keys(padding).map((name) => [name, ["transformers", "CLIPTokenizer"]]);
  const none = [null, null];
  return {
    _class_name: pipeline,
    feature_extractor: none,
    ...(pipeline === "StableDiffusionPipeline"
      ? { requires_safety_checker: false, safety_checker: none }
      : { force_zeros_for_empty_prompt: true, image_encoder: none }),
    scheduler: ["diffusers", scheduler["_class_name"]],
    ...(Object.fromEntries([...texts, ...tokenizers]) as object),
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
}

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import * as safetensors from "../../lib/io/safetensors";
import { CLIPTextModel } from "../../lib/models/clip-text";
import { UNet2DConditionModel } from "../../lib/models/unet";
import { AutoencoderKL } from "../../lib/models/vae";
import { golden } from "./golden";
import type { GoldenModel } from "./golden-model";
import { seededWeights } from "./seeded-weights";

/** Paths into test/fixtures/v2. */
export const v2 = (...parts: string[]): string => join(__dirname, "..", "fixtures", "v2", ...parts);

const NETWORKS = [
  ["unet", UNet2DConditionModel, "diffusion_pytorch_model"],
  ["vae", AutoencoderKL, "diffusion_pytorch_model"],
  ["text_encoder", CLIPTextModel, "model"],
] as const;

/**
 * A diffusers folder of the tiny model of Stable Diffusion 2's kind in test/fixtures/v2, its weights drawn from seeds.
 * @param options.scheduler what its scheduler_config.json says instead   @param options.latents the sides of what it draws
 */
export async function writeV2(
  folder: string,
  { scheduler = {}, latents }: { scheduler?: Record<string, unknown>; latents?: number } = {},
): Promise<void> {
  await cp(v2(), folder, { recursive: true, filter: (path) => !/\.(?:py|safetensors)$/.test(path) });
  for (const file of ["vocab.json", "merges.txt"])
    await cp(golden("small", "tokenizer", file), join(folder, "tokenizer", file));
  const change = async (path: string, more: object): Promise<Record<string, unknown>> => {
    const changed = { ...(JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>), ...more };
    // What is not changed keeps its bytes: Python tells 1.0 from 1.
    if (Object.keys(more).length > 0) await writeFile(path, JSON.stringify(changed));
    return changed;
  };
  await change(join(folder, "scheduler", "scheduler_config.json"), scheduler);
  for (const [part, Network, stem] of NETWORKS) {
    await mkdir(join(folder, part), { recursive: true });
    const size = part === "unet" && latents !== undefined ? { sample_size: latents } : {};
    const network = new Network(await change(join(folder, part, "config.json"), size));
    const shapes = Object.entries(network.parameterShapes()).sort(([a], [b]) => (a < b ? -1 : 1));
    await safetensors.save(
      join(folder, part, `${stem}.safetensors`),
      seededWeights(Object.fromEntries(shapes)),
    );
    network.dispose();
  }
}

/** That model in memory, with the reference's inputs and outputs. */
export async function loadV2(
  options: Parameters<typeof writeV2>[1] = {},
): Promise<GoldenModel & { folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "kpop-v2-"));
  await writeV2(folder, options);
  const model = await StableDiffusion.load(folder, { device: "cpu" });
  const tensors = await safetensors.load(v2("expected.safetensors"));
  return {
    folder,
    model,
    expected(key) {
      const tensor = tensors.get(key);
      if (tensor === undefined) throw new Error(`the fixture has no ${key}`);
      return tensor;
    },
    keys: (prefix) => [...tensors.keys()].filter((key) => key.startsWith(prefix)),
    async dispose() {
      model.dispose();
      for (const tensor of tensors.values()) tensor.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

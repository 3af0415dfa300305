import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import * as safetensors from "../../lib/io/safetensors";
import type { Tensor } from "../../lib/runtime/tensor";
import { golden } from "./golden";

/** A golden checkpoint in memory, with the reference's inputs and outputs. */
export interface GoldenModel {
  model: StableDiffusion;
  expected(key: string): Tensor;
  /** Keys that begin so. */
  keys(prefix: string): string[];
  dispose(): Promise<void>;
}

/**
 * @param options.latents the sides of the latents that the model draws, the fixture's 16 by default; at 8 everything
 *   takes half as long, and is as good where nothing is compared with the reference's outputs
 */
export async function loadGolden(
  name: "small" | "wide",
  { latents }: { latents?: number } = {},
): Promise<GoldenModel> {
  const folder = await mkdtemp(join(tmpdir(), "kpop-golden-"));
  await cp(golden(name), folder, { recursive: true });
  await cp(golden(name, "tokenizer"), join(folder, "tokenizer"), { recursive: true });
  if (latents !== undefined) {
    const file = join(folder, "unet", "config.json");
    const config = JSON.parse(await readFile(file, "utf8")) as object;
    await writeFile(file, JSON.stringify({ ...config, sample_size: latents }));
  }
  return openGolden(folder, golden(name, "expected.safetensors"));
}

/** The checkpoint in a folder, which goes with it, and a file of the reference's tensors. */
export async function openGolden(folder: string, reference: string): Promise<GoldenModel> {
  const model = await StableDiffusion.load(folder, { device: "cpu" });
  const tensors = await safetensors.load(reference);
  return {
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

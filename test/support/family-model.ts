import { cp, mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as safetensors from "../../lib/io/safetensors";
import { CLIPTextModel } from "../../lib/models/clip-text";
import { UNet2DConditionModel } from "../../lib/models/unet";
import { AutoencoderKL } from "../../lib/models/vae";
import { golden } from "./golden";
import { openGolden, type GoldenModel } from "./golden-model";
import { seededWeights } from "./seeded-weights";

/** Families of which test/fixtures has configurations, and what the reference computes. */
export type Family = "v2" | "xl";

/** Paths into a family's fixtures. */
export const fixture = (family: Family, ...parts: string[]): string =>
  join(__dirname, "..", "fixtures", family, ...parts);

const ONE_ENCODER = [
  ["unet", UNet2DConditionModel, "diffusion_pytorch_model"],
  ["vae", AutoencoderKL, "diffusion_pytorch_model"],
  ["text_encoder", CLIPTextModel, "model"],
] as const;
const NETWORKS = {
  v2: ONE_ENCODER,
  xl: [...ONE_ENCODER, ["text_encoder_2", CLIPTextModel, "model"]],
} as const;
const TOKENIZERS = { v2: ["tokenizer"], xl: ["tokenizer", "tokenizer_2"] } as const;

/** What is otherwise than in the fixtures. */
export interface FamilyOptions {
  /** What scheduler_config.json says instead. */
  scheduler?: Record<string, unknown>;
  /** The sides of the latents that it draws. */
  latents?: number;
}

/** A diffusers folder of the tiny model of a family, its weights drawn from seeds. */
export async function writeFamily(
  family: Family,
  folder: string,
  { scheduler = {}, latents }: FamilyOptions = {},
): Promise<void> {
  await cp(fixture(family), folder, {
    recursive: true,
    filter: (path) => !/\.(?:py|safetensors)$/.test(path),
  });
  for (const tokenizer of TOKENIZERS[family])
    for (const file of ["vocab.json", "merges.txt"])
      await cp(golden("small", "tokenizer", file), join(folder, tokenizer, file));
  const change = async (path: string, more: object): Promise<Record<string, unknown>> => {
    const changed = { ...(JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>), ...more };
    // What is not changed keeps its bytes: Python tells 1.0 from 1.
    if (Object.keys(more).length > 0) await writeFile(path, JSON.stringify(changed));
    return changed;
  };
  await change(join(folder, "scheduler", "scheduler_config.json"), scheduler);
  for (const [part, Network, stem] of NETWORKS[family]) {
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
export async function loadFamily(
  family: Family,
  options: FamilyOptions = {},
): Promise<GoldenModel & { folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), `kpop-${family}-`));
  await writeFamily(family, folder, options);
  return { folder, ...(await openGolden(folder, fixture(family, "expected.safetensors"))) };
}

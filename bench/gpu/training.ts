/** How fast the built-in model's text encoder and UNet train, as `npm run train:pocket` trains them. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLIPTextModel, Random, UNet2DConditionModel, type Device } from "../../lib/index";
import { writeTokenizer } from "../../examples/train-pocket/checkpoint-folder";
import { CONCEPTS, STYLES } from "../../examples/train-pocket/concepts";
import { diffusionStage } from "../../examples/train-pocket/diffusion";
import { FAMILIES, LATENT_SIDE } from "../../examples/train-pocket/families";
import { initialise } from "../../examples/train-pocket/initial-weights";
import type { Pictures } from "../../examples/train-pocket/pictures";
import { train } from "../../examples/train-pocket/training";

const STEPS = 50;
const VARIANTS = 16;
/** Scaled latents, (4, side, side). */
const LATENT = [4, LATENT_SIDE, LATENT_SIDE] as const;

export interface TrainingSpeed {
  stepsPerSecond: number;
  steps: number;
}

/**
 * The diffusion stage on noise in place of encoded icons, which a bare machine has not: the work does not depend on the
 * values. The first 25 of 50 steps warm up.
 */
export async function trainingSpeed(device: Device): Promise<TrainingSpeed> {
  const folder = await mkdtemp(join(tmpdir(), "kpop-gpu-training-"));
  try {
    const { tokenizer, fields } = await writeTokenizer(join(folder, "tokenizer"));
    const { unet: config, texts } = FAMILIES.sd1;
    const unet = new UNet2DConditionModel(config);
    const textEncoder = new CLIPTextModel({ ...texts.text_encoder, ...fields });
    const random = new Random(0);
    await initialise(unet, random.at("unet"), device);
    await unet.useFastestLayout();
    await initialise(textEncoder, random.at("text"), device);
    const list = CONCEPTS.flatMap((_, concept) => STYLES.map((_style, style) => ({ concept, style })));
    const pictures = { list, variants: VARIANTS } as unknown as Pictures;
    const values = random
      .at("latents")
      .normal([list.length * VARIANTS, ...LATENT])
      .to({ device });
    const options = { steps: STEPS, seed: 0, device, training: FAMILIES.sd1.training, look: async () => {} };
    const networks = { unet, vae: { downsampling: 4 }, texts: [{ tokenizer, encoder: textEncoder }] };
    await train(diffusionStage(networks, pictures, { values, scale: 1 }, options), folder);
    const lines = (await readFile(join(folder, "log.jsonl"), "utf8")).trim().split("\n");
    const last = JSON.parse(lines.at(-1)!) as { step: number; secondsPerStep: number };
    return { stepsPerSecond: 1 / last.secondsPerStep, steps: last.step / lines.length };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

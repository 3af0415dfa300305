/**
 * Trains the built-in model from nothing, on icon sets from npm: the autoencoder, then text encoder and UNet, then the
 * networks that judge pictures (two classifiers and a CLIP).
 *
 *     npm run train:pocket -- [--family sd1|xl] [--out DIR] [--state DIR] [--device cpu|cuda] [--seed N] [--stages A,B]
 *                             [--autoencoder-steps N] [--diffusion-steps N] [--classifier-steps N] [--clip-steps N]
 *
 * Everything is seeded. An interrupted run goes on from its last saved state when it is started again; a stage that is
 * not asked for is left as that state has it. A model of the family xl has the built-in model's autoencoder, and what
 * judges its pictures judges those of xl too: its one stage is diffusion.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  AutoencoderKL,
  CLIPModel,
  CLIPTextModel,
  Random,
  ResNet,
  safetensors,
  Tensor,
  UNet2DConditionModel,
  type CLIPTokenizer,
} from "../../lib/index";
import { autoencoderStage, VAE_CONFIG } from "./autoencoder";
import { writeIndex, writeNetwork, writeTokenizer } from "./checkpoint-folder";
import { accuracy, classifierConfig, classifierStage } from "./classifier";
import { CLIP_PREPROCESSING, clipConfig, clipStage } from "./clip";
import { CONCEPTS, STYLES } from "./concepts";
import { diffusionStage, encodeAll } from "./diffusion";
import { FAMILIES, tokenizerOf, type Family } from "./families";
import { writeJson } from "./files";
import { initialise } from "./initial-weights";
import { Pictures, VARIANTS, type Picture } from "./pictures";
import { drawSamples } from "./samples";
import { train, type Stage } from "./training";

const ROOT = join(__dirname, "..");
const PACKAGES = join(ROOT, "examples", "train-pocket");
const DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors";
const STAGES = ["autoencoder", "diffusion", "classifier", "clip"] as const;
type StageName = (typeof STAGES)[number];

interface Settings {
  family: keyof typeof FAMILIES;
  out: string;
  state: string;
  device: string;
  seed: number;
  stages: readonly StageName[];
  steps: Readonly<Record<StageName, number>>;
}

/** @throws Error that says what was expected, and what came */
function parseFlags(args: readonly string[]): Settings {
  const text = (otherwise: string) => ({ type: "string", default: otherwise }) as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      family: text("sd1"),
      out: text(""),
      state: text(""),
      device: text("cpu"),
      seed: text("0"),
      stages: text(""),
      "autoencoder-steps": text("2500"),
      "diffusion-steps": text("12500"),
      "classifier-steps": text("700"),
      "clip-steps": text("1200"),
    },
  });
  const count = (name: keyof typeof values, least: number): number => {
    const value = values[name];
    if (/^\d+$/.test(value) && Number(value) >= least) return Number(value);
    throw new Error(`Expected --${name} to be an integer >= ${least} but received "${value}"`);
  };
  const { family } = values;
  if (family !== "sd1" && family !== "xl")
    throw new Error(`Expected --family to be sd1 or xl but received "${family}"`);
  const possible = family === "xl" ? (["diffusion"] as const) : STAGES;
  const stages = (values.stages || possible.join()).split(",").map((given) => {
    const known = possible.find((name) => name === given.trim());
    if (known !== undefined) return known;
    throw new Error(`Expected --stages to be among ${possible.join(", ")} but received "${given}"`);
  });
  const name = family === "xl" ? "pocket-xl" : "pocket";
  const state = values.state || join(ROOT, "build", `train-${name}`);
  return {
    family,
    out: values.out || join(state, name),
    state,
    device: values.device,
    seed: count("seed", 0),
    stages,
    steps: {
      autoencoder: count("autoencoder-steps", 1),
      diffusion: count("diffusion-steps", 1),
      classifier: count("classifier-steps", 1),
      clip: count("clip-steps", 1),
    },
  };
}

const settings = parseOrExit();
const { out, state, device, seed } = settings;
const steps = (stage: StageName): number => settings.steps[stage];
const wanted = (stage: StageName): boolean => settings.stages.includes(stage);
const samples = (stage: string) => (step: number) => join(state, "samples", `${stage}-${step}.png`);
const run = (stage: Stage): Promise<void> => train(stage, state);

async function main(): Promise<void> {
  await mkdir(join(state, "samples"), { recursive: true });
  const drawings = join(state, "pictures.safetensors");
  const pictures = await Pictures.prepare(drawings, PACKAGES, { seed, variants: VARIANTS, plain: true });
  console.error(`${pictures.list.length} pictures, ${pictures.variants} drawings of each`);

  const vae = settings.family === "xl" ? await builtInAutoencoder() : await trainAutoencoder(pictures);
  if (wanted("diffusion")) await trainDiffusion(vae, FAMILIES[settings.family], pictures);
  if (wanted("classifier")) await trainClassifiers(vae, pictures);
  if (wanted("clip")) await trainClip(pictures);
  console.log(out);
}

/** Every stage needs it: it is brought back from its state, or trained. */
async function trainAutoencoder(pictures: Pictures): Promise<AutoencoderKL> {
  const vae = new AutoencoderKL(VAE_CONFIG);
  await initialise(vae, new Random(seed).at("vae"), device);
  await vae.useFastestLayout();
  const options = { steps: steps("autoencoder"), seed, device, samples: samples("autoencoder") };
  await run(autoencoderStage(vae, pictures, options));
  return vae;
}

async function builtInAutoencoder(): Promise<AutoencoderKL> {
  const vae = new AutoencoderKL(VAE_CONFIG);
  const stored = await safetensors.load(join(ROOT, "models", "pocket", "vae", DIFFUSERS_FILE));
  const weights = [...stored].map(([name, half]) => [name, half.to({ dtype: "float32", device })] as const);
  await vae.assign(new Map(weights));
  await vae.useFastestLayout();
  return vae;
}

async function trainDiffusion(vae: AutoencoderKL, family: Family, pictures: Pictures): Promise<void> {
  const latents = await encodeAll(vae, pictures, device);
  const unet = new UNet2DConditionModel(family.unet);
  await initialise(unet, new Random(seed).at("unet"), device);
  await unet.useFastestLayout();
  const towers: { folder: string; tokenizer: CLIPTokenizer; encoder: CLIPTextModel; config: object }[] = [];
  for (const [folder, config] of Object.entries(family.texts)) {
    const { tokenizer, fields } = await writeTokenizer(join(out, tokenizerOf(folder)));
    const complete = { ...config, ...fields };
    const encoder = new CLIPTextModel(complete);
    await initialise(encoder, new Random(seed).at(folder.replace("_encoder", "")), device);
    towers.push({ folder, tokenizer, encoder, config: complete });
  }

  const write = async (): Promise<void> => {
    const vaeConfig = { ...family.vae, scaling_factor: latents.scale };
    await writeNetwork(join(out, "vae"), vae, vaeConfig, DIFFUSERS_FILE);
    await writeNetwork(join(out, "unet"), unet, family.unet, DIFFUSERS_FILE);
    for (const { folder, encoder, config } of towers) await writeNetwork(join(out, folder), encoder, config);
    await writeIndex(out, family);
  };
  const look = async (step: number): Promise<void> => {
    await write();
    await drawSamples(out, samples("diffusion")(step));
  };
  const options = { steps: steps("diffusion"), seed, device, training: family.training, look };
  await run(diffusionStage({ unet, vae, texts: towers }, pictures, latents, options));
  await write();
}

/** One network tells the concepts, another the styles; both are measured on drawings that they never saw. */
async function trainClassifiers(vae: AutoencoderKL, pictures: Pictures): Promise<void> {
  const drawings = join(state, "fresh-pictures.safetensors");
  const fresh = await Pictures.prepare(drawings, PACKAGES, { seed: seed + 1, variants: 4, plain: false });
  const kinds: [string, readonly string[], (picture: Picture) => number][] = [
    ["classifier", CONCEPTS, ({ concept }) => concept],
    ["style-classifier", STYLES.map(({ name }) => name), ({ style }) => style],
  ];
  const measured: Record<string, number> = {};
  for (const [name, classes, label] of kinds) {
    const config = classifierConfig(classes);
    const { depth, width, stem } = config;
    const network = new ResNet({ depth, width, stem, num_classes: classes.length });
    await initialise(network, new Random(seed).at(name), device);
    await network.useFastestLayout();
    const options = { steps: steps("classifier"), seed, device };
    await run(classifierStage(name, network, label, pictures, vae, options));
    measured[name] = await accuracy(network, label, fresh, device);
    console.error(`${name}: ${(100 * measured[name]).toFixed(1)} % of fresh drawings told right`);
    await writeNetwork(join(out, name), network, config);
  }
  await writeJson(join(state, "accuracy.json"), measured);
}

async function trainClip(pictures: Pictures): Promise<void> {
  const folder = join(out, "clip");
  const { tokenizer, fields } = await writeTokenizer(folder);
  const config = clipConfig(fields);
  const clip = new CLIPModel(config);
  await initialise(clip, new Random(seed).at("clip"), device);
  await clip.parameter("logit_scale").copyFrom(Tensor.from([Math.log(1 / 0.07)], [], { device }));
  await run(clipStage(clip, tokenizer, pictures, { steps: steps("clip"), seed, device }));
  await writeNetwork(folder, clip, config);
  await writeJson(join(folder, "preprocessor_config.json"), CLIP_PREPROCESSING);
}

function parseOrExit(): Settings {
  try {
    return parseFlags(process.argv.slice(2));
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(2);
  }
}

main().catch((error: unknown) => {
  console.error(`error: ${(error as Error).message}`);
  process.exitCode = 1;
});

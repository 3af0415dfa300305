import type { Tensor } from "../../../lib/index";
import { predictNoise, Random, scope, UNet2DConditionModel, type Dtype } from "../../../lib/index";
import { ARCHITECTURES, type Family } from "../../gpu/architectures";
import { peakBytes } from "../../machine";
import { time, type Measurement, type SpeedCase } from "../case";

/** Small enough that activations stay finite through all layers. */
const WEIGHT_SCALE = 0.02;
const LATENTS = 64;
const TOKENS = 77;
/** Numbers that Stable Diffusion XL is told of a picture's size and crop. */
const SIZES = 6;

/** What is timed of which network. */
export interface UNetTrial {
  readonly name: string;
  readonly family: Family;
  readonly dtype: Dtype;
  /** Calls of each, see `time`. */
  readonly repeats: number;
  /** Whether a forward and backward into attn2 is timed, too: it holds gradients and activations. Default true. */
  readonly trains?: boolean;
}

/** A forward, and a forward and backward into attn2, of the full-size network: batch 1, 64×64 latents. */
export function unetCase(trial: UNetTrial): SpeedCase {
  const { name, family, dtype, repeats, trains = true } = trial;
  const { unet } = ARCHITECTURES[family];
  return {
    name,
    title: `UNet of Stable Diffusion ${family === "xl" ? "XL" : family}, random weights, batch 1, ${LATENTS}×${LATENTS} latents, ${dtype}`,
    run: () => measure({ ...trial, trains }),
    peer: {
      script: "unet.py",
      arguments: [JSON.stringify(unet), dtype, String(repeats), trains ? "training" : "forward"],
    },
  };
}

async function measure({ family, dtype, repeats, trains }: Required<UNetTrial>): Promise<Measurement> {
  const unet = await randomUNet(ARCHITECTURES[family].unet, dtype);
  const random = new Random(1);
  const {
    cross_attention_dim: width,
    addition_time_embed_dim,
    projection_class_embeddings_input_dim,
  } = unet.config;
  const latents = random.at("sample").normal([1, 4, LATENTS, LATENTS], { dtype });
  const context = random.at("context").normal([1, TOKENS, width], { dtype });
  const pooledWidth = projection_class_embeddings_input_dim - SIZES * addition_time_embed_dim;
  const pooled = pooledWidth > 0 ? random.at("pooled").normal([1, pooledWidth], { dtype }) : undefined;
  const predict = (grad: boolean): Promise<Tensor> =>
    predictNoise({ unet, dtype }, { latents, timesteps: 500 }, { context, pooled }, { grad });
  const forward = await time(
    () => scope(async () => void (await (await predict(false)).settled()).dispose()),
    repeats,
  );
  console.error(`ours, ${dtype}: forward ${forward.toFixed(2)} s`);
  if (!trains) return { seconds: { forward }, peakBytes: peakBytes() };
  const trained = unet.parameterNames().filter((name) => name.includes("attn2"));
  for (const name of trained) await unet.parameter(name).requireGrad();
  const training = await time(
    () =>
      scope(async () => {
        const noise = await predict(true);
        await noise.square().mean().backward();
        for (const name of trained) await unet.parameter(name).zeroGrad();
      }),
    repeats,
  );
  console.error(`ours, ${dtype}: forward and backward ${training.toFixed(2)} s`);
  return { seconds: { forward, "forward+backward": training }, peakBytes: peakBytes() };
}

/** The network with normal weights. */
export async function randomUNet(
  config: Readonly<Record<string, unknown>>,
  dtype: Dtype,
): Promise<UNet2DConditionModel> {
  const unet = new UNet2DConditionModel(config);
  const random = new Random(0);
  const weights = new Map<string, Tensor>();
  for (const [name, shape] of Object.entries(unet.parameterShapes())) {
    const drawn = random.at(name).normal(shape, { dtype });
    weights.set(name, await drawn.mul(WEIGHT_SCALE).settled());
    drawn.dispose();
  }
  await unet.assign(weights);
  await unet.useFastestLayout();
  return unet;
}

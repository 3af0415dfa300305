import type { Tensor } from "../../../lib/index";
import { predictNoise, Random, scope, UNet2DConditionModel, type Dtype } from "../../../lib/index";
import { peakBytes } from "../../machine";
import { time, type Measurement, type SpeedCase } from "../case";

/** Stable Diffusion 1.4's unet/config.json, where it differs from diffusers' defaults. */
const SD14 = { cross_attention_dim: 768, sample_size: 64 };
/** Small enough that activations stay finite through all layers. */
const WEIGHT_SCALE = 0.02;

/**
 * A forward, and a forward and backward into attn2, of the full-size network: batch 1, 64×64 latents.
 *
 * @param repeats calls of each, see `time`
 */
export function unetCase(dtype: Dtype, repeats: number): SpeedCase {
  return {
    name: `unet-${dtype}`,
    title: `SD-1.4 UNet, random weights, batch 1, 64×64 latents, ${dtype}`,
    run: () => measure(dtype, repeats),
    peer: { script: "unet.py", arguments: [dtype, String(repeats)] },
  };
}

async function measure(dtype: Dtype, repeats: number): Promise<Measurement> {
  const unet = await randomUNet(dtype);
  const random = new Random(1);
  const batch = { latents: random.at("sample").normal([1, 4, 64, 64], { dtype }), timesteps: 500 };
  const condition = { context: random.at("context").normal([1, 77, 768], { dtype }) };
  const predict = (grad: boolean): Promise<Tensor> =>
    predictNoise({ unet, dtype }, batch, condition, { grad });
  const forward = await time(
    () => scope(async () => void (await (await predict(false)).settled()).dispose()),
    repeats,
  );
  console.error(`ours, ${dtype}: forward ${forward.toFixed(2)} s`);
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
export async function randomUNet(dtype: Dtype): Promise<UNet2DConditionModel> {
  const unet = new UNet2DConditionModel(SD14);
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

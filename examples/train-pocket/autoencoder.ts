import type { AutoencoderKL } from "../../lib/index";
import { Image, noGrad, Random, scope, Tensor } from "../../lib/index";
import type { Pictures } from "./pictures";
import { SIDE } from "./pictures";
import type { Stage } from "./training";

/** vae/config.json, without the scaling factor, which is measured when the network is trained. */
export const VAE_CONFIG = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [16, 32, 64],
  down_block_types: Array<string>(3).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(3).fill("UpDecoderBlock2D"),
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 1,
  norm_num_groups: 16,
  sample_size: SIDE,
};

const BATCH = 16;
const WEIGHTS = { square: 0.5, edge: 0.5, divergence: 3e-4 };

/**
 * Autoencoder on the pictures: mean absolute error, plus squared error, error of the differences between neighbours
 * (which keeps edges sharp), and the Kullback-Leibler divergence of the latents from N(0, 1) (arXiv 2112.10752, §3.1).
 */
export function autoencoderStage(
  vae: AutoencoderKL,
  pictures: Pictures,
  options: { steps: number; seed: number; device: string; samples: (step: number) => string },
): Stage {
  const { device, seed } = options;
  return {
    name: "autoencoder",
    steps: options.steps,
    parameters: new Map(vae.parameterNames().map((name) => [name, vae.parameter(name)])),
    learningRate: 2e-3,
    warmup: 50,
    average: 0.995,
    async loss(step) {
      const random = new Random(seed).at("autoencoder", step);
      const image = pictures.batch(choose(pictures, random, BATCH), device);
      const { mean, logvar } = await vae.encode(image, { grad: true });
      const noise = random.at("noise").normal(mean.shape, { device });
      const latents = mean.add(logvar.mul(0.5).exp().mul(noise));
      const decoded = await vae.decode(latents, { grad: true });
      const divergence = mean.square().add(logvar.exp()).sub(logvar).sub(1).mul(0.5).mean();
      return decoded
        .sub(image)
        .abs()
        .mean()
        .add(decoded.mse(image).mul(WEIGHTS.square))
        .add(edges(decoded, image).mul(WEIGHTS.edge))
        .add(divergence.mul(WEIGHTS.divergence));
    },
    look: (step) => scope(() => noGrad(() => reconstructions(vae, pictures, device, options.samples(step)))),
  };
}

/** Random drawings of random pictures. */
export function choose(
  pictures: Pictures,
  random: Random,
  count: number,
): { picture: number; variant: number }[] {
  return Array.from({ length: count }, (_, item) => ({
    picture: random.at("picture", item).below(pictures.list.length),
    variant: random.at("variant", item).below(pictures.variants),
  }));
}

function edges(a: Tensor, b: Tensor): Tensor {
  const difference = (x: Tensor, dim: number): Tensor => x.slice(dim, 1).sub(x.slice(dim, 0, -1));
  const error = (dim: number): Tensor => difference(a, dim).sub(difference(b, dim)).abs().mean();
  return error(2).add(error(3));
}

/** Two rows: pictures, and what the network makes of them. */
async function reconstructions(
  vae: AutoencoderKL,
  pictures: Pictures,
  device: string,
  path: string,
): Promise<void> {
  const count = 16;
  const shown = Array.from({ length: count }, (_, i) => ({
    picture: Math.floor((i * pictures.list.length) / count),
    variant: 0,
  }));
  const image = pictures.batch(shown, device);
  const { mean } = await vae.encode(image);
  const both = Tensor.cat([image, await vae.decode(mean)]);
  await (await grid(both, count)).save(path);
}

/** (N, 3, SIDE, SIDE) in [-1, 1] as one picture with `columns` in a row. */
async function grid(images: Tensor, columns: number): Promise<Image> {
  const [count = 0, , height = 0, width = 0] = images.shape;
  const rows = Math.ceil(count / columns);
  const bytes = await images
    .reshape([rows, columns, 3, height, width])
    .permute([0, 3, 1, 4, 2])
    .add(1)
    .mul(127.5)
    .round()
    .clamp(0, 255)
    .to({ dtype: "uint8", device: "cpu" })
    .contiguous()
    .data();
  return new Image(columns * width, rows * height, new Uint8Array(bytes.buffer as ArrayBuffer));
}

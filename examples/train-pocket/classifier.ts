import { type AutoencoderKL, noGrad, Random, type ResNet, Tensor } from "../../lib/index";
import { choose } from "./autoencoder";
import type { Picture, Pictures } from "./pictures";
import type { Stage } from "./training";

const BATCH = 32;
/** Most pixels that a drawing is moved by, beside what its own drawing is. */
const SHIFT = 4;
const NOISE = 0.05;

/** config.json of a classifier of 64-pixel pictures in [-1, 1]. */
export function classifierConfig(classes: readonly string[]): Record<string, unknown> {
  const half = [0.5, 0.5, 0.5];
  return { depth: 18, width: 16, stem: "small", classes, mean: half, std: half };
}

/**
 * Cross-entropy on moved and noisy drawings, every second batch as the autoencoder gives them back: what the model
 * generates has been through its decoder.
 * @param label what is to be told of a picture
 */
export function classifierStage(
  name: string,
  network: ResNet,
  label: (picture: Picture) => number,
  pictures: Pictures,
  vae: AutoencoderKL,
  options: { steps: number; seed: number; device: string },
): Stage {
  const { device, seed } = options;
  return {
    name,
    steps: options.steps,
    parameters: new Map(network.weightNames().map((key) => [key, network.parameter(key)])),
    buffers: new Map(network.statisticNames().map((key) => [key, network.parameter(key)])),
    learningRate: 2e-3,
    warmup: 50,
    async loss(step) {
      const random = new Random(seed).at(name, step);
      const chosen = choose(pictures, random, BATCH);
      const drawings = pictures.batch(chosen, device);
      const seen = step % 2 === 0 ? drawings : await noGrad(() => reconstruct(vae, drawings));
      const labels = chosen.map(({ picture }) => label(pictures.list[picture]!));
      const logits = await network.forward(moved(seen, random), { train: true, grad: true });
      return crossEntropy(logits, labels);
    },
  };
}

/** Mean negative log-likelihood. @param logits (B, classes) */
export function crossEntropy(logits: Tensor, labels: readonly number[]): Tensor {
  const [batch = 0, classes = 0] = logits.shape;
  const chosen = new Float32Array(batch * classes);
  for (const [item, target] of labels.entries()) chosen[item * classes + target] = 1;
  const mask = Tensor.from(chosen, [batch, classes], { device: logits.device });
  return logits.logSoftmax(1).mul(mask).sum().div(-batch);
}

/** Share of right answers on the drawings of `pictures`, all variants. */
export async function accuracy(
  network: ResNet,
  label: (picture: Picture) => number,
  pictures: Pictures,
  device: string,
): Promise<number> {
  let right = 0;
  for (const [picture, described] of pictures.list.entries()) {
    const drawings = Array.from({ length: pictures.variants }, (_, variant) => ({ picture, variant }));
    const answers = await (await network.forward(pictures.batch(drawings, device))).argmax(1).data();
    right += [...answers].filter((answer) => Number(answer) === label(described)).length;
  }
  return right / (pictures.list.length * pictures.variants);
}

async function reconstruct(vae: AutoencoderKL, images: Tensor): Promise<Tensor> {
  return vae.decode((await vae.encode(images)).mean);
}

/** The whole batch shifted by up to SHIFT pixels on white, with noise of its own for each pixel. */
function moved(images: Tensor, random: Random): Tensor {
  const side = images.shape[2]!;
  const offset = (axis: string): number => random.at(axis).below(2 * SHIFT + 1);
  const shape = images.shape;
  const bar = (dim: number): Tensor =>
    Tensor.zeros(
      shape.map((length, at) => (at === dim ? SHIFT : length)),
      {
        device: images.device,
      },
    ).add(1);
  const wide = Tensor.cat([bar(3), images, bar(3)], 3)
    .slice(3, offset("x"))
    .slice(3, 0, side);
  const tall = Tensor.cat([bar(2), wide, bar(2)], 2)
    .slice(2, offset("y"))
    .slice(2, 0, side);
  return tall.add(random.at("noise").normal(shape, { device: images.device }).mul(NOISE));
}

import {
  above,
  autoencoderLoss,
  geometricMedian,
  removeParallelGradient,
  unitRows,
  type AutoencoderWeights,
} from "../../nn/sparse-autoencoder";
import type { Schedule } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import type { Random } from "../../runtime/random";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { Job } from "../../training/job";

/** How a sparse autoencoder is trained. */
export interface AutoencoderTraining {
  /** k. */
  readonly active: number;
  readonly iterations: number;
  /** Vectors of an iteration. */
  readonly batchSize: number;
  readonly learningRate: Schedule;
  /** Weight of the loss on dead latents. */
  readonly auxiliaryWeight: number;
  /** Vectors after which a latent that was active for none of them is dead. */
  readonly deadAfter: number;
}

/** The vectors of an iteration, (B, C) float32. */
export type VectorSource = (iteration: number, size: number) => Tensor;

/** Adam's, as it was published. */
const EPSILON = 6.25e-10;

/**
 * Weights to begin with: random directions of norm 1 in the decoder, the same in the encoder with a linear layer's usual
 * spread, no bias there, and the geometric median of some vectors in the decoder's.
 */
export function initialAutoencoder(random: Random, latents: number, vectors: Tensor): AutoencoderWeights {
  return noGrad(() =>
    scope(() => {
      const width = vectors.shape[1]!;
      const { device } = vectors;
      const directions = random.normal([latents, width], { device });
      return {
        "encoder.weight": directions.div(Math.sqrt(3 * width)),
        "encoder.bias": Tensor.zeros([latents], { device }),
        W_dec: unitRows(directions),
        b_dec: geometricMedian(vectors),
      };
    }),
  );
}

/**
 * Trains a BatchTopK autoencoder in place, by `autoencoderLoss` with Adam, as a part of the run that is saved and resumed.
 * What of the decoder's gradient is parallel to its rows is left out, gradients are scaled down to norm 1, and rows have
 * norm 1 after each step.
 */
export async function trainAutoencoder(
  job: Job,
  weights: AutoencoderWeights,
  vectors: VectorSource,
  o: AutoencoderTraining,
): Promise<void> {
  const learned = new Map(Object.entries(weights) as [string, Tensor][]);
  const { W_dec: decoder } = weights;
  const player = await job.learn("autoencoder", learned, { ...o, eps: EPSILON, maxGradientNorm: 1 });
  const [latents] = decoder.shape as [number];
  /** Vectors since each latent was active. */
  const since = job.hold(Tensor.zeros([latents], { device: decoder.device })); // (m)
  job.part("since", { tensors: () => new Map([["fired", since]]) });
  await job.iterate(o.iterations, async (i) => {
    const x = vectors(i, o.batchSize); // (B, C)
    const dead = i * o.batchSize > o.deadAfter ? await deadLatents(since, o.deadAfter) : undefined;
    const { losses, fired } = await player.update(i, async (backward) => {
      const { reconstruction, auxiliary, ...rest } = autoencoderLoss(weights, x, { ...o, dead });
      const total =
        auxiliary === null ? reconstruction : reconstruction.add(auxiliary.mul(o.auxiliaryWeight));
      await backward(total);
      await removeParallelGradient(decoder);
      return { losses: { reconstruction, auxiliary }, ...rest };
    });
    await decoder.copyFrom(unitRows(decoder));
    await since.copyFrom(noGrad(() => since.add(o.batchSize).mul(fired.neg().add(1))));
    return losses;
  });
}

async function deadLatents(since: Tensor, after: number): Promise<{ mask: Tensor; count: number }> {
  const mask = above(since, after);
  return { mask, count: await mask.sum().item() };
}

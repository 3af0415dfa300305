import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** Tensors of a sparse autoencoder with m latents over vectors of C numbers, by the names that files have them under. */
export interface AutoencoderWeights {
  /** (m, C). */
  readonly "encoder.weight": Tensor;
  /** (m). */
  readonly "encoder.bias": Tensor;
  /** (m, C), each row of norm 1. */
  readonly W_dec: Tensor;
  /** (C). */
  readonly b_dec: Tensor;
}

/** A power of two that takes any difference between two activations over 1. */
const STEEP = 2 ** 100;
/** Steps of the geometric median; what is left after them is below float32's digits. */
const MEDIAN_STEPS = 100;

/** 1 where a value is above a bound, else 0. */
export function above(values: Tensor, bound: Tensor | number): Tensor {
  return values
    .sub(bound)
    .clamp(0, 1 / STEEP)
    .mul(STEEP);
}

/**
 * 1 at the `count` largest of the values that are above 0, else 0: all of them where there are fewer. Of equal values at
 * the edge all are taken.
 * @param values >= 0, float32 @param of each row by itself, or all rows together
 */
export function largest(values: Tensor, count: number, of: "rows" | "all"): Tensor {
  return noGrad(() =>
    scope(() => {
      const within = of === "rows" ? values : values.reshape([-1]);
      const last = Math.min(count, within.shape.at(-1)!);
      if (last < 1) return values.mul(0);
      const smallest = within.topk(last).slice(-1, last - 1, last); // (n, 1), or (1)
      return above(values, 0).mul(above(smallest, values).neg().add(1));
    }),
  );
}

/** ReLU(W_e (x − b_dec) + b_e). @param x (n, C) @returns (n, m) */
export function activations(weights: AutoencoderWeights, x: Tensor): Tensor {
  const centred = x.sub(weights.b_dec);
  return centred.matmul(weights["encoder.weight"].transpose(0, 1)).add(weights["encoder.bias"]).relu();
}

/** z: the `active` largest activations of each vector, the others 0. @param x (n, C) @returns (n, m) */
export function encode(weights: AutoencoderWeights, x: Tensor, active: number): Tensor {
  const all = activations(weights, x);
  return all.mul(largest(all, active, "rows"));
}

/** z W_dec + b_dec. @param z (n, m) @returns (n, C) */
export function decode(weights: AutoencoderWeights, z: Tensor): Tensor {
  return z.matmul(weights.W_dec).add(weights.b_dec);
}

/** What a batch's loss looks at. */
export interface AutoencoderLossOptions {
  /** k: latents of a vector, on average over the batch. */
  readonly active: number;
  /** Latents that have not been active for long: (m), 1 where one is dead; with how many there are. */
  readonly dead?: { readonly mask: Tensor; readonly count: number } | undefined;
}

/**
 * The loss of a BatchTopK autoencoder (Gao et al., arXiv 2406.04093; Bussmann et al., arXiv 2412.06410) on a batch x:
 *   ‖x̂ − x‖² / ‖x − x̄‖², x̂ of the k n largest activations of the whole batch; and, of the k_a n largest among dead
 *   latents, min(d / C_a, 1) ‖z_a W_dec − (x − x̂)‖² / ‖x − x̄‖² with C_a = C/2, d dead latents and k_a = min(C_a, d). The
 *   gradient of the second does not reach x̂.
 * @param x (n, C) float32
 * @returns both losses as scalars, null where nothing is dead; `fired` (m): 1 for latents that were active
 */
export function autoencoderLoss(
  weights: AutoencoderWeights,
  x: Tensor,
  { active, dead }: AutoencoderLossOptions,
): { reconstruction: Tensor; auxiliary: Tensor | null; fired: Tensor } {
  const [count, width] = x.shape as [number, number];
  const variance = x.sub(x.mean(0, true)).square().sum();
  const all = activations(weights, x);
  const mask = largest(all, active * count, "all");
  const rest = x.sub(decode(weights, all.mul(mask)));
  const reconstruction = rest.square().sum().div(variance);
  const fired = mask.amax(0);
  if (dead === undefined || dead.count === 0) return { reconstruction, auxiliary: null, fired };
  const room = Math.floor(width / 2);
  const asleep = all.mul(dead.mask);
  const taken = largest(asleep.detach(), Math.min(room, dead.count) * count, "all");
  const error = asleep.mul(taken).matmul(weights.W_dec).sub(rest.detach()).square().sum().div(variance);
  return { reconstruction, auxiliary: error.mul(Math.min(dead.count / room, 1)), fired };
}

/** Takes out of each row's gradient what would only change the row's length. */
export async function removeParallelGradient(rows: Tensor): Promise<void> {
  const { grad } = rows;
  if (grad === null) return;
  await noGrad(() =>
    scope(async () => {
      const along = grad.mul(rows).sum([1], true); // (m, 1)
      await grad.copyFrom(grad.sub(along.mul(rows)));
    }),
  );
}

/** Rows over their norms. @param rows (m, C) */
export function unitRows(rows: Tensor): Tensor {
  return noGrad(() => scope(() => rows.div(rows.square().sum([1], true).sqrt().clamp(1e-12, Infinity))));
}

/** The point with the smallest sum of distances to others (Weiszfeld 1937), from their mean. @param points (n, C) @returns (C) */
export function geometricMedian(points: Tensor): Tensor {
  return scope(() => {
    let guess = points.mean(0, true);
    for (let step = 0; step < MEDIAN_STEPS; step++) {
      guess = scope(() => {
        const distances = points.sub(guess).square().sum([1], true).sqrt().clamp(1e-12, Infinity); // (n, 1)
        const weights = distances.pow(-1);
        return weights.mul(points).sum([0], true).div(weights.sum());
      });
    }
    return guess.squeeze(0);
  });
}

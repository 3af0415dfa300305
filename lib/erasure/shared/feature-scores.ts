import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../../errors";
import { encode, type AutoencoderWeights } from "../../nn/sparse-autoencoder";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";

/** Of a list of vectors for each text. */
interface Vectors {
  readonly timesteps: readonly number[];
  /** (S, N, C) float32. */
  of(text: number): Tensor;
}

/** Which features are chosen, and what becomes of them. */
export interface FeatureChoice {
  /** k. */
  readonly active: number;
  /** p: features are those with scores above this percentile. */
  readonly percentile: number;
  /** γ. */
  readonly multiplier: number;
}

/** Activations that are looked at together, at most, but for a single step's. */
const ELEMENTS = 2 ** 22;
/** Keeps a share of nothing from being no number. */
const EPSILON = 1e-8;

/**
 * Features of concepts at each step, as SAeUron edits them. μ_i(c) is a latent's mean over the vectors of c at a step, and
 *   s_i = μ_i(c) / Σ_j μ_j(c) − μ_i(others) / Σ_j μ_j(others),
 * with others the mean of all texts that are no concept. Chosen are features with s_i above the percentile p of all s; such
 * a latent becomes γ μ_i(c) z_i where z_i is above the mean of μ_i over concepts and others. A feature of several concepts
 * goes with the one that it scores highest for.
 * @param concepts how many of the texts, the first ones, are concepts
 * @param texts how many there are
 * @returns tables (S, m) on the CPU: of the factors, less 1, and of the thresholds; `chosen` counts features over all steps
 */
export async function featureTables(
  weights: AutoencoderWeights,
  vectors: Vectors,
  { concepts, texts }: { readonly concepts: number; readonly texts: number },
  { active, percentile, multiplier }: FeatureChoice,
  signal?: AbortSignal,
): Promise<{ change: Tensor; threshold: Tensor; chosen: number }> {
  const own: Float32Array[] = [];
  const shape = [vectors.timesteps.length, weights["encoder.bias"].shape[0]!] as const;
  const sum = await scope(async () => {
    let rest = Tensor.zeros(shape);
    for (let text = 0; text < texts; text++) {
      throwIfAborted(signal);
      const means = await meanLatents(weights, vectors.of(text), active);
      if (text < concepts) own.push((await means.data()) as Float32Array);
      else rest = rest.add(means);
    }
    return (await rest.data()) as Float32Array;
  });
  const all = Float32Array.from(sum);
  for (const means of own) means.forEach((value, i) => (all[i]! += value));
  const [steps, latents] = shape;
  const change = new Float32Array(steps * latents);
  let chosen = 0;
  for (let step = 0; step < steps; step++) {
    // Sorting a step's scores takes milliseconds; other work gets its turn.
    await setImmediate();
    const at = (table: Float32Array): Float32Array => table.subarray(step * latents, (step + 1) * latents);
    const best = new Float64Array(latents).fill(-Infinity);
    for (const means of own) {
      const scores = featureScores(at(means), at(sum));
      const bound = quantile(scores, percentile / 100);
      scores.forEach((score, i) => {
        if (score <= bound || score <= best[i]!) return;
        best[i] = score;
        at(change)[i] = multiplier * at(means)[i]! - 1;
      });
    }
    chosen += best.reduce((count, score) => count + (score > -Infinity ? 1 : 0), 0);
  }
  const threshold = all.map((value) => value / texts);
  return { change: Tensor.from(change, shape), threshold: Tensor.from(threshold, shape), chosen };
}

/** Means of latents over the vectors of each step. @param vectors (S, N, C) @returns (S, m) on the CPU */
async function meanLatents(weights: AutoencoderWeights, vectors: Tensor, active: number): Promise<Tensor> {
  return noGrad(() =>
    scope(() => {
      const [steps, count, width] = vectors.shape as [number, number, number];
      const latents = weights["encoder.bias"].shape[0]!;
      const together = Math.max(1, Math.floor(ELEMENTS / (count * latents)));
      const means: Tensor[] = [];
      for (let first = 0; first < steps; first += together)
        means.push(
          scope(() => {
            const rows = vectors.slice(0, first, first + together).reshape([-1, width]);
            return encode(weights, rows, active).reshape([-1, count, latents]).mean(1);
          }),
        );
      return Tensor.cat(means).to({ device: "cpu" }).settled();
    }),
  );
}

/** s_i: the share of a latent in one set of means, less its share in another. They sum to 0. */
export function featureScores(own: Float32Array, others: Float32Array): Float64Array {
  const total = (values: Float32Array): number => values.reduce((sum, value) => sum + value, EPSILON);
  const [a, b] = [total(own), total(others)];
  return Float64Array.from(own, (value, i) => value / a - others[i]! / b);
}

/** The quantile of a share from 0 to 1, between two values by their distances, as torch.quantile and numpy have it. */
export function quantile(values: Float64Array, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return low + (high - low) * (at - Math.floor(at));
}

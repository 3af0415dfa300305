import type { Erasure } from "../../lib/erasure/erasure";
import type { CustomLatents } from "../../lib/erasure/shared/custom-source";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";

/** Timesteps of the items of `customLatents`. */
export const TIMESTEPS = [981, 401, 21, 601, 201, 801];

/** z_t of one of those items, (4, 16, 16). */
export function customLatent(item: number): Tensor {
  return new Random(100 + item).normal([4, 16, 16]);
}

/** Latents for the golden model, the same each time. */
export async function* customLatents(count: number): AsyncGenerator<CustomLatents> {
  for (let item = 0; item < count; item++)
    yield { latents: customLatent(item), timestep: TIMESTEPS[item % TIMESTEPS.length]! };
}

/** The items of one iteration, and what is drawn for each. */
export interface TrialBatch {
  /** (B, 4, 16, 16). */
  latents: Tensor;
  timesteps: number[];
  /** Index of each item's text. */
  texts: number[];
  /** What each item holds in place, where anything is. */
  preserved?: string[];
}

/** What a method draws for iterations on `customLatents`. */
export function trialBatches(
  seed: number,
  { iterations, batchSize, texts, preserve = [] }: { iterations: number; batchSize: number; texts: number; preserve?: readonly string[] }, // prettier-ignore
): TrialBatch[] {
  const draw = (kind: string, i: number, item: number, below: number): number =>
    new Random(seed).at(kind, i, item).below(below);
  return Array.from({ length: iterations }, (_, i) => {
    const items = Array.from({ length: batchSize }, (__, item) => item);
    return {
      latents: Tensor.stack(items.map((item) => customLatent(i * batchSize + item))),
      timesteps: items.map((item) => TIMESTEPS[i * batchSize + item]!),
      texts: items.map((item) => draw("custom", i, item, texts)),
      ...(preserve.length === 0
        ? {}
        : { preserved: items.map((item) => preserve[draw("preserve", i, item, preserve.length)]!) }),
    };
  });
}

/** The losses of an erasure's iterations. */
export function lossesOf({ history }: Erasure): Record<string, number>[] {
  return history.map(({ losses }) => losses);
}

/** Expects losses of the same names, within a share of each; what begins as a small difference has an absolute term. */
export function expectLosses(
  erasure: Erasure,
  expected: readonly Record<string, number>[],
  { relative = 2e-3, absolute = 1e-8 } = {},
): void {
  expect(erasure.history).toHaveLength(expected.length);
  lossesOf(erasure).forEach((actual, i) => {
    expect(Object.keys(actual).sort()).toEqual(Object.keys(expected[i]!).sort());
    for (const [name, value] of Object.entries(expected[i]!))
      expect(Math.abs(actual[name]! - value)).toBeLessThanOrEqual(relative * value + absolute);
  });
}

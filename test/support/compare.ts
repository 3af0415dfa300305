import type { Image } from "../../lib/io/image";
import { Tensor } from "../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** max |a - b| / max |b|. */
export async function relativeError(actual: Tensor, expected: Tensor): Promise<number> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = await Promise.all([numbers(actual), numbers(expected)]);
  let worst = 0;
  let largest = 0;
  b.forEach((value, index) => {
    const difference = Math.abs(a[index]! - value);
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(value));
  });
  return worst / largest;
}

/** The largest difference of a byte between pictures and a reference's, (N, H, W, 3) uint8. */
export async function worstByte(images: readonly Image[], reference: Tensor): Promise<number> {
  const expected = (await reference.data()) as Uint8Array;
  return images
    .flatMap(({ data }) => Array.from(data))
    .reduce((most, byte, i) => Math.max(most, Math.abs(byte - expected[i]!)), 0);
}

/** What an independent optimiser came to. */
export interface ReferenceWeights {
  weights: ReadonlyMap<string, Tensor>;
  /** 1 for each element of them, in order, whose update is well conditioned; all are, by default. */
  conditioned?: Uint8Array;
}

/**
 * ‖Δ - Δ'‖ / ‖Δ'‖ of the way that all these weights went together, over the elements whose update is well conditioned,
 * of which there are to be at least 95 %. The others only have to be numbers.
 */
export async function trainedError(
  actual: { parameter(name: string): Tensor },
  { weights, conditioned = Uint8Array.of() }: ReferenceWeights,
  start: { parameter(name: string): Tensor },
): Promise<number> {
  const flat = (tensor: (key: string) => Tensor): Tensor =>
    Tensor.cat([...weights.keys()].map((key) => tensor(key).detach().reshape([-1])));
  const known = conditioned.reduce((sum, each) => sum + each, 0);
  expect(known).toBeGreaterThanOrEqual(0.95 * conditioned.length);
  return relativeUpdateError(
    flat((key) => actual.parameter(key)),
    flat((key) => weights.get(key)!),
    flat((key) => start.parameter(key)),
    conditioned,
  );
}

/** ‖(a - start) - (b - start)‖ / ‖b - start‖, in Frobenius norm, over the elements that are to be counted. */
export async function relativeUpdateError(
  actual: Tensor,
  expected: Tensor,
  start: Tensor,
  counted?: Uint8Array,
): Promise<number> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b, s] = await Promise.all([numbers(actual), numbers(expected), numbers(start)]);
  let difference = 0;
  let norm = 0;
  b.forEach((value, index) => {
    // 0 × NaN is NaN.
    const factor = counted?.[index] ?? 1;
    difference += factor * (a[index]! - value) ** 2;
    norm += factor * (value - s[index]!) ** 2;
  });
  return Math.sqrt(difference / norm);
}

import type { Tensor } from "../../lib/runtime/tensor";

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

/** ‖(a - start) - (b - start)‖ / ‖b - start‖, in Frobenius norm. */
export async function relativeUpdateError(actual: Tensor, expected: Tensor, start: Tensor): Promise<number> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b, s] = await Promise.all([numbers(actual), numbers(expected), numbers(start)]);
  let difference = 0;
  let norm = 0;
  b.forEach((value, index) => {
    difference += (a[index]! - value) ** 2;
    norm += (value - s[index]!) ** 2;
  });
  return Math.sqrt(difference / norm);
}

import { rate as shareOf, type Rate } from "../lib/index";
import type { ClassCount } from "./results";

export { median } from "../lib/internal";
export type { Rate };

/** A share of pictures in percent, with the library's 95 % interval. */
export function rate(hits: number, total: number): Rate {
  const { value, low, high } = shareOf(hits, total);
  return { value: 100 * value, low: 100 * low, high: 100 * high, hits, total };
}

/** ESR-k: the share of the pictures of erased classes whose class is not among the k most likely. Null without any. */
export function erasing(counts: readonly ClassCount[], k: number): Rate | null {
  return share(counts, "erased", ({ images, hits }) => images - (hits[k] ?? 0));
}

/** PSR-k: the share of the pictures of preserved classes whose class is among the k most likely. Null without any. */
export function preserving(counts: readonly ClassCount[], k: number): Rate | null {
  return share(counts, "preserved", ({ hits }) => hits[k] ?? 0);
}

/** The share of the pictures of erased classes whose class is among the k most likely: of what a key brings back. */
export function recovering(counts: readonly ClassCount[], k: number): Rate | null {
  return share(counts, "erased", ({ hits }) => hits[k] ?? 0);
}

/** Whether a rate lies above another one (1), below it (-1), or their 95 % intervals overlap (0). */
export function apart(one: Rate, other: Rate): 1 | 0 | -1 {
  if (one.low > other.high) return 1;
  return one.high < other.low ? -1 : 0;
}

function share(
  counts: readonly ClassCount[],
  group: ClassCount["group"],
  count: (of: ClassCount) => number,
): Rate | null {
  const classes = counts.filter((of) => of.group === group);
  if (classes.length === 0) return null;
  const sum = (of: (one: ClassCount) => number): number => classes.reduce((total, one) => total + of(one), 0);
  return rate(
    sum(count),
    sum(({ images }) => images),
  );
}

/** Rates over several splits: the pooled share and its interval, and the population standard deviation of the values. */
export interface PooledRate extends Rate {
  deviation: number;
}

/** @returns null for no rates */
export function pooled(rates: readonly (Rate | null)[]): PooledRate | null {
  const given = rates.filter((one) => one !== null);
  if (given.length === 0) return null;
  const sum = (of: (one: Rate) => number): number => given.reduce((total, one) => total + of(one), 0);
  const values = given.map(({ value }) => value);
  return { ...rate(sum((one) => one.hits), sum((one) => one.total)), deviation: deviation(values) }; // prettier-ignore
}

/** Population standard deviation. */
export function deviation(values: readonly number[]): number {
  const average = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - average) ** 2)));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The harmonic mean of erasing and preserving, 0 where either is 0: what the search for options goes by. */
export function balance(counts: readonly ClassCount[]): number {
  const [erased, preserved] = [erasing(counts, 1)?.value ?? 0, preserving(counts, 1)?.value ?? 0];
  return erased + preserved === 0 ? 0 : (2 * erased * preserved) / (erased + preserved);
}

/**
 * What a method preserves where it erases as much as asked: PSR-1 between its own trials, by straight lines in ESR-1.
 * @param points its trials, [ESR-1, PSR-1]
 * @returns null where no two of its trials enclose that erasing
 */
export function preservingAt(points: readonly [number, number][], erased: number): number | null {
  const frontier = bestPreserving(points);
  for (const [index, [right, psr]] of frontier.entries()) {
    if (right === erased) return psr;
    const before = frontier[index - 1];
    if (before === undefined || right < erased || before[0] > erased) continue;
    const along = (erased - before[0]) / (right - before[0]);
    return before[1] + along * (psr - before[1]);
  }
  return null;
}

/** The trials that no other one of the method beats in both, by rising ESR-1. */
function bestPreserving(points: readonly [number, number][]): [number, number][] {
  const rising = [...points].sort(([a, p], [b, q]) => a - b || q - p);
  return rising.filter(
    ([esr, psr], index) =>
      !rising.some(
        ([otherEsr, otherPsr], other) =>
          other !== index &&
          otherEsr >= esr &&
          otherPsr >= psr &&
          (otherEsr > esr || otherPsr > psr || other < index),
      ),
  );
}

import { invalid } from "../check";
import { meanOf, rate } from "./rates";

/** How a figure of the second of two lists differs from that of the first, item by item, with a 95 % interval. */
export interface PairedDifference {
  /** Share, or mean, of the first list and of the second. */
  first: number;
  second: number;
  /** Second less first. */
  value: number;
  low: number;
  high: number;
  /** Pairs. */
  total: number;
  /** Pairs that only the first, or only the second, counts; only of shares. */
  onlyFirst?: number;
  onlySecond?: number;
  /** McNemar's exact test that both shares are the same: two-sided, of the pairs that differ; only of shares. */
  p?: number;
}

/**
 * The difference of two shares of the same items. The interval is R. G. Newcombe's method 10 (Statistics in Medicine 17,
 * 1998, 2635–2650): Wilson's intervals of both shares, and their correlation with its correction for continuity.
 * @throws INVALID_ARGUMENT on lists that are empty or of other lengths
 */
export function pairedRates(first: readonly boolean[], second: readonly boolean[]): PairedDifference {
  const total = checkPairs(first, second);
  const count = (a: boolean, b: boolean): number =>
    first.filter((one, i) => one === a && second[i] === b).length;
  const [both, neither] = [count(true, true), count(false, false)];
  const [onlyFirst, onlySecond] = [count(true, false), count(false, true)];
  const one = rate(both + onlyFirst, total);
  const two = rate(both + onlySecond, total);
  const spread = Math.sqrt(one.hits * (total - one.hits) * two.hits * (total - two.hits));
  const excess = both * neither - onlyFirst * onlySecond;
  const corrected = excess > 0 ? Math.max(excess - total / 2, 0) : excess;
  const phi = spread === 0 ? 0 : corrected / spread;
  const half = (a: number, b: number): number => Math.sqrt(a ** 2 - 2 * phi * a * b + b ** 2);
  const value = (onlySecond - onlyFirst) / total;
  return {
    first: one.value,
    second: two.value,
    value,
    low: value - half(two.value - two.low, one.high - one.value),
    high: value + half(two.high - two.value, one.value - one.low),
    total,
    onlyFirst,
    onlySecond,
    p: mcNemar(onlyFirst, onlySecond),
  };
}

/** The difference of two means of the same items, with the normal interval of the items' differences. */
export function pairedMeans(first: readonly number[], second: readonly number[]): PairedDifference {
  checkPairs(first, second);
  const difference = meanOf(second.map((one, i) => one - first[i]!));
  return { first: meanOf(first).value, second: meanOf(second).value, ...difference };
}

function checkPairs(first: readonly unknown[], second: readonly unknown[]): number {
  if (first.length === 0 || first.length !== second.length)
    throw invalid("second", `a list of ${first.length}, as the first, and not empty,`, second);
  return first.length;
}

/** Twice the tail of a fair coin's throws, at most 1. */
function mcNemar(a: number, b: number): number {
  const n = a + b;
  // Binomial probabilities by their logarithms: 2⁻ⁿ is 0 in floating point from n = 1075 on.
  let log = -n * Math.LN2;
  let tail = 0;
  for (let i = 0; i <= Math.min(a, b); i++) {
    tail += Math.exp(log);
    log += Math.log((n - i) / (i + 1));
  }
  return Math.min(1, 2 * tail);
}

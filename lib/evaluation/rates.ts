import { integer, invalid } from "../check";

/** 97.5 % quantile of the standard normal distribution: two-sided 95 %. */
const Z = 1.959963984540054;

/** A share of pictures, with the interval that its true value lies in with 95 % confidence. */
export interface Rate {
  /** From 0 to 1. */
  value: number;
  low: number;
  high: number;
  /** Pictures counted, of `total`. */
  hits: number;
  total: number;
}

/** A mean of figures, with the interval that its true value lies in with 95 % confidence. */
export interface Mean {
  value: number;
  low: number;
  high: number;
  total: number;
}

/**
 * `hits` of `total`, with Wilson's score interval (E. B. Wilson, JASA 22, 1927, doi 10.1080/01621459.1927.10502953),
 * which holds for shares near 0 and 1 and for few pictures, where the normal one does not.
 * @throws INVALID_ARGUMENT on no pictures, or more hits than pictures
 */
export function rate(hits: number, total: number): Rate {
  integer("total", total, 1);
  integer("hits", hits, 0, total);
  return { ...wilson(hits / total, total), hits, total };
}

/**
 * The mean of the classes' shares, each class counting the same, as the published tables average.
 *
 * Its interval is Wilson's for as many pictures as give the mean of independent classes its variance, k² / Σ 1/nᵢ, which is
 * all of them where classes have equally many. It leaves out that classes differ, so it is wider than need be, never
 * narrower.
 * @throws INVALID_ARGUMENT on no classes
 */
export function averageRate(rates: readonly Rate[]): Rate {
  if (rates.length === 0) throw invalid("rates", "a non-empty list", rates);
  const value = rates.reduce((sum, one) => sum + one.value, 0) / rates.length;
  const effective = rates.length ** 2 / rates.reduce((sum, { total }) => sum + 1 / total, 0);
  return {
    ...wilson(value, effective),
    hits: rates.reduce((sum, one) => sum + one.hits, 0),
    total: rates.reduce((sum, one) => sum + one.total, 0),
  };
}

/** The mean with its normal interval; of one figure the interval is unbounded. @throws INVALID_ARGUMENT on none */
export function meanOf(values: readonly number[]): Mean {
  const total = values.length;
  if (total === 0) throw invalid("values", "a non-empty list", values);
  const value = values.reduce((a, b) => a + b, 0) / total;
  const variance = values.reduce((sum, one) => sum + (one - value) ** 2, 0) / (total - 1);
  const half = total === 1 ? Infinity : Z * Math.sqrt(variance / total);
  return { value, low: value - half, high: value + half, total };
}

/**
 * ESR-k of one class: the share of its pictures that do not have it among the first k classes (EAP's code; KPOP's Table 2).
 * @param ranks place of the own class in the classifier's ranking of each picture, 1 for the first
 */
export function erasedRate(ranks: readonly number[], k: number): Rate {
  return rate(ranks.filter((rank) => rank > k).length, ranks.length);
}

/** PSR-k of one class: the share of its pictures that do. @param ranks as `erasedRate` takes them */
export function preservedRate(ranks: readonly number[], k: number): Rate {
  return rate(ranks.filter((rank) => rank <= k).length, ranks.length);
}

function wilson(value: number, total: number): Pick<Rate, "value" | "low" | "high"> {
  const denominator = 1 + Z ** 2 / total;
  const centre = (value + Z ** 2 / (2 * total)) / denominator;
  const half = (Z / denominator) * Math.sqrt((value * (1 - value)) / total + Z ** 2 / (4 * total ** 2));
  // At 0 and 1 the bound is exact; rounding would put it beside.
  return {
    value,
    low: value === 0 ? 0 : Math.max(0, centre - half),
    high: value === 1 ? 1 : Math.min(1, centre + half),
  };
}

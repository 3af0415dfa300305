/**
 * Values that stand for the k clusters of values on a line: the value nearest to each mean of the k-means that are best,
 * found by dynamic programming over the sorted values (Wang and Song, The R Journal 2011) with as many steps as
 * k n log n. Iterated k-means (Lloyd) may end in worse ones.
 * @param values finite
 * @param count k, >= 1
 * @returns indices of values, each once, by ascending value; all of them where there are no more than k
 */
export function representatives(values: readonly number[], count: number): number[] {
  const order = values.map((_, index) => index).sort((a, b) => values[a]! - values[b]! || a - b);
  if (order.length <= count) return order;
  const sorted = order.map((index) => values[index]!);
  const chosen = new Set<number>();
  let first = 0;
  for (const end of clusterEnds(sorted, count)) {
    const cluster = sorted.slice(first, end);
    const mean = cluster.reduce((sum, value) => sum + value, 0) / cluster.length;
    const gaps = cluster.map((value) => Math.abs(value - mean));
    chosen.add(order[first + gaps.indexOf(Math.min(...gaps))]!);
    first = end;
  }
  return [...chosen];
}

/** Where each of k clusters of ascending values ends, exclusive, so that the squares within them are fewest. */
function clusterEnds(sorted: readonly number[], count: number): number[] {
  const middle = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const sums = [0];
  const squares = [0];
  for (const value of sorted) {
    sums.push(sums.at(-1)! + (value - middle));
    squares.push(squares.at(-1)! + (value - middle) ** 2);
  }
  // Of values from `from` up to `to`, exclusive: Σ (x - mean)².
  const within = (from: number, to: number): number =>
    squares[to]! - squares[from]! - (sums[to]! - sums[from]!) ** 2 / (to - from);

  let best = sorted.map((_, last) => within(0, last + 1));
  const starts: number[][] = [];
  for (let clusters = 2; clusters <= count; clusters++) {
    const before = best;
    const start = new Array<number>(sorted.length).fill(clusters - 1);
    best = new Array<number>(sorted.length).fill(Infinity);
    // Where the last cluster starts never moves down as values are added, so that halves bound each other.
    const fill = (low: number, high: number, from: number, to: number): void => {
      if (low > high) return;
      const last = (low + high) >> 1;
      for (let at = Math.max(from, clusters - 1); at <= Math.min(to, last); at++) {
        const cost = before[at - 1]! + within(at, last + 1);
        if (cost < best[last]!) [best[last], start[last]] = [cost, at];
      }
      fill(low, last - 1, from, start[last]!);
      fill(last + 1, high, start[last]!, to);
    };
    fill(clusters - 1, sorted.length - 1, clusters - 1, sorted.length - 1);
    starts.push(start);
  }
  const ends = [sorted.length];
  for (const start of starts.reverse()) ends.unshift(start[ends[0]! - 1]!);
  return ends;
}

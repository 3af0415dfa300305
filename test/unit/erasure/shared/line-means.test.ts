import { representatives } from "../../../../lib/erasure/shared/line-means";
import { Random } from "../../../../lib/runtime/random";

const random = (count: number, seed = 1): number[] =>
  Array.from({ length: count }, (_, i) => new Random(seed).at(i).uniform());
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const within = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0);

/** The clusters of ascending values whose squares are fewest, of all that there are. */
function bestOfAll(sorted: readonly number[], count: number): number[][] {
  if (count === 1) return [[...sorted]];
  const found: number[][][] = [];
  for (let end = 1; end <= sorted.length - count + 1; end++)
    found.push([sorted.slice(0, end), ...bestOfAll(sorted.slice(end), count - 1)]);
  const cost = (clusters: readonly number[][]): number =>
    clusters.reduce((sum, cluster) => sum + within(cluster), 0);
  return found.reduce((best, clusters) => (cost(clusters) < cost(best) ? clusters : best));
}

const nearest = (cluster: readonly number[]): number =>
  cluster.reduce((best, x) => (Math.abs(x - mean(cluster)) < Math.abs(best - mean(cluster)) ? x : best));

describe("representatives", () => {
  it("of ten distances are those of the three heaps that they lie in", () => {
    // The heaps' means are 1.2, 4.1 and 9.0.
    const values = [9.3, 1.0, 4.0, 1.3, 9.0, 4.4, 1.2, 3.9, 8.7, 1.3];
    expect(representatives(values, 3).map((index) => values[index])).toEqual([1.2, 4.0, 9.0]);
  });

  it.each([1, 2, 3, 4, 6])("of %i clusters are those of the best clusters of all", (count) => {
    for (let seed = 0; seed < 8; seed++) {
      const values = random(11, seed);
      const clusters = bestOfAll([...values].sort((a, b) => a - b), count); // prettier-ignore
      expect(representatives(values, count).map((index) => values[index])).toEqual(clusters.map(nearest));
    }
  });

  it("are all values, ascending, where there are no more than clusters", () => {
    expect(representatives([3, 1, 2], 3)).toEqual([1, 2, 0]);
    expect(representatives([3, 1, 2], 100)).toEqual([1, 2, 0]);
    expect(representatives([], 5)).toEqual([]);
  });

  it("name each value once where many are equal", () => {
    const indices = representatives([2, 2, 2, 2, 7, 7], 4);
    expect(new Set(indices).size).toBe(indices.length);
    expect(new Set(indices.map((index) => [2, 2, 2, 2, 7, 7][index]))).toEqual(new Set([2, 7]));
  });

  it("of a thousand values are spread over all of them", () => {
    const values = random(1000);
    const chosen = representatives(values, 100);
    expect(chosen).toHaveLength(100);
    const picked = chosen.map((index) => values[index]!);
    expect([...picked].sort((a, b) => a - b)).toEqual(picked);
    const gaps = values.map((value) => Math.min(...picked.map((one) => Math.abs(one - value))));
    expect(Math.max(...gaps)).toBeLessThan(0.02);
  });
});

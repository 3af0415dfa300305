import { kMeans } from "../../../../lib/erasure/shared/k-means";

describe("k-means", () => {
  it("finds the means of clusters that lie apart, whichever points it begins with", () => {
    const points = [[0, 0], [0, 2], [10, 0], [10, 1], [10, 2], [-5, 9]]; // prettier-ignore
    const centres = kMeans(points, 3).sort(([a], [b]) => a! - b!);
    expect(centres).toEqual([[-5, 9], [0, 1], [10, 1]]); // prettier-ignore
  });

  it("ends where no point is nearer to another centre, and each centre is the mean of its points", () => {
    const points = Array.from({ length: 40 }, (_, i) => [Math.sin(7 * i), Math.cos(3 * i), Math.sin(i * i)]);
    const centres = kMeans(points, 4);
    const distance = (a: readonly number[], b: readonly number[]): number =>
      Math.hypot(...a.map((x, i) => x - b[i]!));
    const owners = points.map((point) => {
      const distances = centres.map((centre) => distance(point, centre));
      return distances.indexOf(Math.min(...distances));
    });
    centres.forEach((centre, index) => {
      const own = points.filter((_, i) => owners[i] === index);
      expect(own.length).toBeGreaterThan(0);
      centre.forEach((x, i) =>
        expect(x).toBeCloseTo(own.reduce((sum, point) => sum + point[i]!, 0) / own.length, 12),
      );
    });
  });

  it("keeps the centre of a cluster that no point is nearest to", () => {
    expect(kMeans([[1, 1], [1, 1], [1, 1]], 2)).toEqual([[1, 1], [1, 1]]); // prettier-ignore
  });
});

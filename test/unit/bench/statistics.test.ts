import {
  balance,
  deviation,
  erasing,
  pooled,
  preserving,
  preservingAt,
  rate,
} from "../../../bench/statistics";
import { sampleCounts } from "../../support/sample-results";

/** The normal distribution's 97.5 % quantile. */
const Z = 1.959963984540054;

describe("a rate", () => {
  it.each([
    [8, 10],
    [1, 3],
    [95, 100],
    [2499, 2500],
  ])("of %d in %d has an interval whose ends are just not rejected by the score test", (hits, total) => {
    const { value, low, high } = rate(hits, total);
    expect(value).toBeCloseTo((100 * hits) / total, 9);
    for (const end of [low / 100, high / 100]) {
      const score = Math.abs(hits / total - end) / Math.sqrt((end * (1 - end)) / total);
      expect(score).toBeCloseTo(Z, 9);
    }
    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
  });

  it("of none, or of all, ends where shares do, and is not sure of it", () => {
    expect(rate(0, 10)).toMatchObject({ value: 0, low: 0 });
    // 1 - z² / (n + z²), the lower end at n of n.
    expect(rate(10, 10).low).toBeCloseTo(1000 / (10 + Z ** 2), 9);
    expect(rate(10, 10).high).toBe(100);
    expect(rate(0, 10).high).toBeCloseTo(100 - 1000 / (10 + Z ** 2), 9);
  });
});

describe("erasing and preserving", () => {
  const counts = sampleCounts(["church", "radio"], ["dog"], [1, 15]);

  it("count misses of the erased classes, and hits of the others", () => {
    expect(erasing(counts, 1)).toMatchObject({ value: 95, hits: 38, total: 40 });
    expect(erasing(counts, 5)).toMatchObject({ value: 85 });
    expect(preserving(counts, 1)).toMatchObject({ value: 75, total: 20 });
  });

  it("add up to 100 on complementary splits of one model, as published for Stable Diffusion", () => {
    const [a, b] = [["church"], ["dog"]];
    const [first, second] = [sampleCounts(a, b, [13, 7]), sampleCounts(b, a, [7, 13])];
    expect(erasing(first, 1)!.value + preserving(second, 1)!.value).toBe(100);
  });

  it("are not there without classes", () => {
    expect(erasing(sampleCounts([], ["dog"], [0, 3]), 1)).toBeNull();
    expect(pooled([null])).toBeNull();
  });

  it("pool pictures, with the population deviation of the splits", () => {
    const pool = pooled([rate(10, 20), rate(20, 20)])!;
    expect(pool).toMatchObject({ value: 75, hits: 30, total: 40, deviation: 25 });
    expect(deviation([2, 4, 4, 4, 5, 5, 7, 9])).toBe(2);
  });

  it("are balanced by their harmonic mean", () => {
    expect(balance(counts)).toBeCloseTo((2 * 95 * 75) / 170, 9);
    expect(balance(sampleCounts(["church"], ["dog"], [20, 20]))).toBe(0);
  });
});

describe("preserving at equal erasing", () => {
  it("lies on the straight line between two trials", () => {
    expect(
      preservingAt(
        [
          [100, 40],
          [80, 90],
        ],
        90,
      ),
    ).toBe(65);
  });

  it("leaves out trials that another one beats in both", () => {
    expect(
      preservingAt(
        [
          [80, 90],
          [90, 10],
          [100, 40],
        ],
        90,
      ),
    ).toBe(65);
  });

  it("is not guessed beyond the trials", () => {
    expect(preservingAt([[80, 90]], 90)).toBeNull();
    expect(preservingAt([[95, 90]], 90)).toBeNull();
    expect(preservingAt([[90, 70]], 90)).toBe(70);
  });
});

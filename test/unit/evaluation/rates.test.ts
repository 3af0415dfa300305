import { averageRate, erasedRate, meanOf, preservedRate, rate } from "../../../lib/evaluation/rates";

describe("rate", () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, Wilson's score without continuity correction.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("of %i in %i has the published interval", (hits, total, low, high) => {
    const found = rate(hits, total);
    expect(found).toMatchObject({ value: hits / total, hits, total });
    expect(found.low).toBeCloseTo(low, 4);
    expect(found.high).toBeCloseTo(high, 4);
  });

  it("has bounds that solve Wilson's equation, and mirrors", () => {
    const { low, high } = rate(7, 9);
    for (const p of [low, high]) {
      const z = Math.abs(7 / 9 - p) / Math.sqrt((p * (1 - p)) / 9);
      expect(z).toBeCloseTo(1.959963984540054, 10);
    }
    const mirrored = rate(2, 9);
    expect([1 - mirrored.high, 1 - mirrored.low]).toEqual([
      expect.closeTo(low, 12),
      expect.closeTo(high, 12),
    ]);
  });

  it("of all or none has the exact bound on its side", () => {
    expect(rate(5, 5).high).toBe(1);
    expect(rate(0, 5).low).toBe(0);
  });

  it("refuses no pictures, and more hits than pictures", () => {
    expect(() => rate(0, 0)).toThrow(/total to be an integer >= 1/);
    expect(() => rate(3, 2)).toThrow(/hits to be an integer from 0 to 2/);
  });
});

describe("ESR-k and PSR-k", () => {
  const ranks = [1, 1, 2, 5, 6, 1, 3, 40];

  it("count the own class outside of, and among, the first k", () => {
    expect(erasedRate(ranks, 1)).toMatchObject({ hits: 5, total: 8, value: 5 / 8 });
    expect(erasedRate(ranks, 5)).toMatchObject({ hits: 2, total: 8 });
    expect(preservedRate(ranks, 1)).toMatchObject({ hits: 3, total: 8 });
    expect(preservedRate(ranks, 5)).toMatchObject({ hits: 6, total: 8 });
  });

  it("of the same pictures sum to one: one split's erased classes are the other's preserved ones", () => {
    const classes = [ranks, [1, 2, 2, 2], [9, 9, 1]];
    for (const k of [1, 2, 5, 9]) {
      const esr = averageRate(classes.map((one) => erasedRate(one, k)));
      const psr = averageRate(classes.map((one) => preservedRate(one, k)));
      expect(esr.value + psr.value).toBeCloseTo(1, 14);
      expect(esr.low + psr.high).toBeCloseTo(1, 12);
    }
  });
});

describe("averageRate", () => {
  it("is the pooled share and interval where classes have equally many pictures", () => {
    const average = averageRate([rate(3, 10), rate(10, 10), rate(5, 10)]);
    const pooled = rate(18, 30);
    expect(average).toEqual({
      ...pooled,
      value: expect.closeTo(pooled.value, 14),
      low: expect.closeTo(pooled.low, 12),
      high: expect.closeTo(pooled.high, 12),
    });
  });

  it("counts every class the same where they have not, with an interval as wide as the smaller ones make it", () => {
    const average = averageRate([rate(1, 2), rate(100, 1000)]);
    expect(average).toMatchObject({ value: 0.3, hits: 101, total: 1002 });
    const width = ({ low, high }: { low: number; high: number }) => high - low;
    expect(width(average)).toBeGreaterThan(width(rate(24, 80)));
    expect(width(average)).toBeLessThan(width(rate(1, 2)));
  });

  it("refuses no classes", () => {
    expect(() => averageRate([])).toThrow(/rates to be a non-empty list/);
  });
});

describe("meanOf", () => {
  it("is the mean with its normal interval", () => {
    // Standard error: sqrt(5 / 3 / 4).
    const { value, low, high, total } = meanOf([1, 2, 3, 4]);
    expect([value, total]).toEqual([2.5, 4]);
    expect(high - value).toBeCloseTo(1.959963984540054 * Math.sqrt(5 / 12), 12);
    expect(value - low).toBeCloseTo(high - value, 12);
  });

  it("of one figure has no bounds, and of none there is none", () => {
    expect(meanOf([7])).toEqual({ value: 7, low: -Infinity, high: Infinity, total: 1 });
    expect(() => meanOf([])).toThrow(/values to be a non-empty list/);
  });
});

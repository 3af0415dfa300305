import { pairedMeans, pairedRates, type PairedDifference } from "../../../lib/evaluation/paired";

/** Pairs as a table counts them: both, only the first, only the second, neither. */
function ofTable(both: number, onlyFirst: number, onlySecond: number, neither: number): PairedDifference {
  const pairs = [
    ...Array<[boolean, boolean]>(both).fill([true, true]),
    ...Array<[boolean, boolean]>(onlyFirst).fill([true, false]),
    ...Array<[boolean, boolean]>(onlySecond).fill([false, true]),
    ...Array<[boolean, boolean]>(neither).fill([false, false]),
  ];
  return pairedRates(
    pairs.map(([first]) => first),
    pairs.map(([, second]) => second),
  );
}

describe("pairedRates", () => {
  // Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014): Newcombe's square-and-add interval of two trials, as the
  // R package contingencytables prints it; they count first less second, so the table is turned round.
  it.each([
    [59, 16, 6, 80, -0.0621, -0.1186, -0.0046],
    [1, 7, 1, 12, -0.2857, -0.5069, -0.0256],
  ])(
    "of %i, %i, %i and %i has the published interval",
    (both, onlyFirst, onlySecond, neither, value, low, high) => {
      const found = ofTable(both, onlyFirst, onlySecond, neither);
      expect(found.value).toBeCloseTo(value, 4);
      expect(found.low).toBeCloseTo(low, 4);
      expect(found.high).toBeCloseTo(high, 4);
    },
  );

  // scipy.stats.binomtest(min(b, c), b + c).pvalue
  it.each([
    [1, 7, 0.0703125],
    [6, 16, 0.052478790283203125],
    [12, 2, 0.012939453125],
    [5, 5, 1],
    [0, 1, 1],
    [0, 0, 1],
  ])("of %i and %i pairs that differ has scipy's exact p", (onlyFirst, onlySecond, p) => {
    expect(ofTable(3, onlyFirst, onlySecond, 4).p).toBeCloseTo(p, 12);
  });

  it("of thousands of pairs that differ has no probability that is 0 only by rounding", () => {
    // Beyond 1074 throws the probability of each sequence rounds to 0; the figures are scipy's.
    expect(ofTable(0, 1000, 1000, 0).p).toBe(1);
    expect(ofTable(0, 1200, 1500, 0).p).toBeCloseTo(8.412086328628609e-9, 20);
  });

  it("mirrors when the lists change places, and says what each alone counts", () => {
    const [one, two] = [ofTable(20, 12, 2, 16), ofTable(20, 2, 12, 16)];
    expect(one).toMatchObject({ first: 0.64, second: 0.44, onlyFirst: 12, onlySecond: 2, total: 50 });
    expect([-one.high, -one.low]).toEqual([expect.closeTo(two.low, 12), expect.closeTo(two.high, 12)]);
    expect(one.p).toBe(two.p);
  });

  it("of lists that are the same has an interval around 0, narrower the more there are", () => {
    const [few, many] = [ofTable(30, 0, 0, 0), ofTable(3000, 0, 0, 0)];
    expect(few).toMatchObject({ value: 0, p: 1 });
    expect(few.low).toBeCloseTo(-0.1135133931739688, 12);
    expect(many.high).toBeLessThan(few.high);
  });

  it.each([
    [[], []],
    [[true], [true, false]],
  ])("refuses lists without pairs", (first, second) => {
    expect(() => pairedRates(first, second)).toThrow(/second to be a list of/);
  });
});

describe("pairedMeans", () => {
  it("is the mean of differences, with the interval of their spread, not of the lists'", () => {
    const first = [10, 200, 3000, 40000];
    const second = [11, 203, 3002, 40002];
    const found = pairedMeans(first, second);
    // Differences 1, 3, 2, 2: mean 2, standard deviation sqrt(2 / 3).
    const half = (1.959963984540054 * Math.sqrt(2 / 3)) / 2;
    expect(found).toMatchObject({ first: 10802.5, second: 10804.5, value: 2, total: 4 });
    expect([found.low, found.high]).toEqual([expect.closeTo(2 - half, 12), expect.closeTo(2 + half, 12)]);
  });
});

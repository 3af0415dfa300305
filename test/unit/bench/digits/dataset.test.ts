import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { readDigits, type Digits } from "../../../../bench/digits/dataset";

describe("the handwritten digits", () => {
  const { train, heldOut } = readDigits();

  // Sums and counts by numpy from scikit-learn's load_digits().
  it("are scikit-learn's", () => {
    expect(train.length).toBe(1438);
    expect(heldOut.length).toBe(359);
    expect(sum([...train.values]) + sum([...heldOut.values])).toBe(561718);
    const count = (digit: number): number => train.placesOf(digit).length + heldOut.placesOf(digit).length;
    expect(Array.from({ length: 10 }, (_, digit) => count(digit))).toEqual([
      178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]);
  });

  it("come in the file's order, every fifth held out", () => {
    expect([0, 1, 2].map((place) => [train.labels[place], inkOf(train, place)])).toEqual([
      [0, 294],
      [1, 313],
      [2, 344],
    ]);
    // Row 5 of the file is a 4.
    expect(heldOut.labels[0]).toBe(4);
    expect(train.labels.slice(3, 5)).toEqual([3, 5]);
  });

  it("are pictures from -1, paper, to 1, ink", async () => {
    const pictures = train.pictures([2, 0]);
    expect(pictures.shape).toEqual([2, 1, 8, 8]);
    const data = Array.from(await pictures.data(), Number);
    expect(Math.min(...data)).toBe(-1);
    expect(Math.max(...data)).toBe(1);
    // (-1 + v / 8) over 64 pixels whose v sum to 294.
    expect(sum(data.slice(64))).toBeCloseTo(-64 + 294 / 8, 10);
  });

  it("are refused where a row is damaged", () => {
    const folder = mkdtempSync(join(tmpdir(), "digits-"));
    const path = join(folder, "bad.csv.gz");
    const row = (grey: number): string => `${Array<number>(64).fill(grey).join(",")},3`;
    writeFileSync(path, gzipSync([row(0), row(17)].join("\n")));
    expect(() => readDigits(path)).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED_FORMAT",
        message: expect.stringMatching(/row 2 .* 64 grey values/),
      }),
    );
    rmSync(folder, { recursive: true });
  });
});

function sum(values: readonly number[]): number {
  return values.reduce((so, value) => so + value, 0);
}

function inkOf(digits: Digits, place: number): number {
  return sum([...digits.values.slice(64 * place, 64 * (place + 1))]);
}

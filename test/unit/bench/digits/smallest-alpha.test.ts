import { smallestAlpha } from "../../../../bench/digits/smallest-alpha";

describe("the smallest strength", () => {
  it.each([0.05, 0.3, 1, 5.3, 60])("is found within an eighth above %d", async (threshold) => {
    const tried: number[] = [];
    const alpha = await smallestAlpha(async (strength) => {
      tried.push(strength);
      return strength >= threshold ? 2 : 100;
    }, 2);
    expect(alpha).toBeGreaterThanOrEqual(threshold);
    expect(alpha - threshold).toBeLessThanOrEqual(Math.max(threshold / 8, 1 / 128));
    expect(tried).toContain(alpha);
    expect(tried.length).toBeLessThan(16);
  });

  it("is the one with the fewest hits where none is enough", async () => {
    const alpha = await smallestAlpha(async (strength) => Math.abs(strength - 4) + 3, 2);
    expect(alpha).toBe(4);
  });
});

import { LONGEST_MESSAGE, MOST_MIB, MOST_MS, fuzzHeaders, openFiles } from "../../support/safetensors-fuzz";

// `npm run fuzz` does the same a million times.
const CASES = 20_000;

describe("the safetensors reader", () => {
  it("agrees with a slow reading of the specification on right and wrong files, in bounded time and memory", async () => {
    const files = openFiles();
    const report = await fuzzHeaders({ seed: 1, cases: CASES });
    expect(openFiles()).toBe(files);
    // Either verdict is common enough to mean something.
    expect(report.accepted / CASES).toBeGreaterThan(0.2);
    expect(report.accepted / CASES).toBeLessThan(0.6);
    expect(report.files).toBeGreaterThan(CASES / 1000);
    expect(report.slowestMs).toBeLessThan(MOST_MS);
    expect(report.growthMib).toBeLessThan(MOST_MIB);
    expect(report.longestMessage).toBeLessThan(LONGEST_MESSAGE);
  });
});

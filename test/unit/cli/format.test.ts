import { bytes, count, duration, plural, quoted } from "../../../lib/cli/format";

describe("figures for people", () => {
  it.each([
    [0, "0.0 s"],
    [9.94, "9.9 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min 0 s"],
    [200, "3 min 20 s"],
    [3599.6, "1 h 0 min"],
    [3900, "1 h 5 min"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [13_800_000, "13.8 MB"],
    [999_600, "1.00 MB"],
    [3_438_354_725, "3.44 GB"],
  ])("writes %d bytes as %s", (size, text) => {
    expect(bytes(size)).toBe(text);
  });

  it("counts in thousands, and in the singular", () => {
    expect(count(1234567)).toBe("1,234,567");
    expect([plural(1, "tensor"), plural(2000, "tensor")]).toEqual(["1 tensor", "2,000 tensors"]);
    expect(quoted(["church", "dog"])).toBe('"church", "dog"');
  });
});

import {
  FormError,
  readInteger,
  readNumber,
  readRange,
  readSchedule,
  readTextOrPattern,
} from "../../../lib/options/read";

describe("values as texts", () => {
  it.each([
    ["1e-4", 1e-4],
    ["-2", -2],
    [".5", 0.5],
    ["7.", 7],
    ["+3E2", 300],
  ])("reads %s as a number", (text, value) => {
    expect(readNumber(text)).toBe(value);
  });

  it.each(["", " ", "abc", "1,5", "0x10", "1e999", "NaN", "Infinity", "3 4"])(
    "does not read %j as a number",
    (text) => {
      expect(() => readNumber(text)).toThrow(FormError);
      expect(() => readInteger(text)).toThrow(FormError);
    },
  );

  it("reads whole numbers only where they are wanted", () => {
    expect(readInteger("1e3")).toBe(1000);
    expect(() => readInteger("1.5")).toThrow("whole number");
    expect(() => readInteger("9007199254740993")).toThrow("whole number");
  });

  it("reads a range as FROM:TO", () => {
    expect(readRange("0.2:0.4")).toEqual([0.2, 0.4]);
    expect(readRange("-1:1e-1")).toEqual([-1, 0.1]);
    for (const text of ["0.2", "1:2:3", ""])
      expect(() => readRange(text)).toThrow("FROM:TO, two numbers such as");
    for (const text of ["a:1", "1:", ":"]) expect(() => readRange(text)).toThrow(FormError);
  });

  it("reads a schedule as FROM:TO:SHAPE[:WARMUP]", () => {
    expect(readSchedule("1e-4")).toBe(1e-4);
    expect(readSchedule("1e-4:1e-5:cosine")).toEqual({ from: 1e-4, to: 1e-5, shape: "cosine" });
    expect(readSchedule("1:0:linear:50")).toEqual({ from: 1, to: 0, shape: "linear", warmup: 50 });
  });

  it.each(["1:2", "1:2:", "a:2:linear", "1:2:linear:x", "1:2:linear:3:4", ":::"])(
    "refuses %s and shows the form of a schedule",
    (text) => {
      expect(() => readSchedule(text)).toThrow(FormError);
      expect(() => readSchedule(text)).toThrow("FROM:TO:SHAPE[:WARMUP] such as");
    },
  );

  it("reads a text between slashes as a pattern", () => {
    expect(readTextOrPattern("/attn2.to_[kv]/i")).toEqual(/attn2.to_[kv]/i);
    expect(readTextOrPattern("xattn")).toBe("xattn");
    expect(readTextOrPattern("a / b")).toBe("a / b");
    expect(() => readTextOrPattern("/[/")).toThrow(FormError);
  });
});

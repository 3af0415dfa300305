import { InvalidArgumentError } from "commander";
import {
  collect,
  parseInteger,
  parseNumber,
  parseNumberOrSchedule,
  parseTextOrPattern,
} from "../../../lib/cli/parse-value";

describe("values on the command line", () => {
  it.each([
    ["1e-4", 1e-4],
    ["-2", -2],
    [".5", 0.5],
    ["7.", 7],
    ["+3E2", 300],
  ])("reads %s as a number", (text, value) => {
    expect(parseNumber(text)).toBe(value);
  });

  it.each(["", " ", "abc", "1,5", "0x10", "1e999", "NaN", "Infinity", "3 4"])(
    "does not read %j as a number",
    (text) => {
      expect(() => parseNumber(text)).toThrow(InvalidArgumentError);
    },
  );

  it("reads whole numbers only where they are wanted", () => {
    expect(parseInteger("1e3")).toBe(1000);
    expect(() => parseInteger("1.5")).toThrow("whole number");
    expect(() => parseInteger("9007199254740993")).toThrow("whole number");
  });

  it("reads a schedule as FROM:TO:SHAPE[:WARMUP]", () => {
    expect(parseNumberOrSchedule("1e-4")).toBe(1e-4);
    expect(parseNumberOrSchedule("1e-4:1e-5:cosine")).toEqual({ from: 1e-4, to: 1e-5, shape: "cosine" });
    expect(parseNumberOrSchedule("1:0:linear:50")).toEqual({ from: 1, to: 0, shape: "linear", warmup: 50 });
  });

  it.each(["1:2", "1:2:", "a:2:linear", "1:2:linear:x", "1:2:linear:3:4", ":::"])(
    "refuses %s and shows the form of a schedule",
    (text) => {
      expect(() => parseNumberOrSchedule(text)).toThrow("FROM:TO:SHAPE[:WARMUP] such as");
    },
  );

  it("reads a text between slashes as a pattern", () => {
    expect(parseTextOrPattern("/attn2.to_[kv]/i")).toEqual(/attn2.to_[kv]/i);
    expect(parseTextOrPattern("xattn")).toBe("xattn");
    expect(parseTextOrPattern("a / b")).toBe("a / b");
    expect(() => parseTextOrPattern("/[/")).toThrow(InvalidArgumentError);
  });

  it("collects what is given several times, in order", () => {
    expect(collect("b", collect("a", undefined))).toEqual(["a", "b"]);
  });
});

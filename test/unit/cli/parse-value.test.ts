import { InvalidArgumentError } from "commander";
import { collect, parseInteger } from "../../../lib/cli/parse-value";

describe("values on the command line", () => {
  it("reads whole numbers, and says of others in commander's words that they are none", () => {
    expect(parseInteger("1e3")).toBe(1000);
    for (const text of ["1.5", "many", ""]) {
      expect(() => parseInteger(text)).toThrow(InvalidArgumentError);
      expect(() => parseInteger(text)).toThrow("whole number");
    }
  });

  it("collects what is given several times, in order", () => {
    expect(collect("b", collect("a", undefined))).toEqual(["a", "b"]);
  });
});

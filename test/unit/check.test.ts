import {
  describe as words,
  finite,
  flag,
  integer,
  invalid,
  jobOptions,
  knownKeys,
  nonEmptyString,
  oneOf,
} from "../../lib/check";
import { KpopError } from "../../lib/errors";

const refusal = (message: string | RegExp): Error =>
  expect.objectContaining({
    name: "KpopError",
    code: "INVALID_ARGUMENT",
    message: typeof message === "string" ? message : expect.stringMatching(message),
  }) as Error;

describe("a value in an error sentence", () => {
  it.each([
    [undefined, "undefined"],
    [null, "null"],
    ["", '"" (string)'],
    [-3, "-3 (number)"],
    [NaN, "NaN (number)"],
    [10n, "10 (bigint)"],
    [true, "true (boolean)"],
    [[1, 2], "[1,2] (array of 2)"],
    [() => 1, "a function"],
    [new Map(), "an object of Map"],
    [Object.create(null), "an object of no class"],
    [[1n], "an array of 1"],
  ])("%p reads as %s", (value, expected) => {
    expect(words(value)).toBe(expected);
  });

  it("is told of where it cannot be looked at", () => {
    const hiding = Object.defineProperty({}, "constructor", {
      get() {
        throw new Error("mine");
      },
    });
    expect(words(hiding)).toBe("an object");
  });

  it("is cut when it is long", () => {
    expect(words("x".repeat(500))).toBe(`"${"x".repeat(57)}..." (string)`);
    expect(words(Array<number>(500).fill(7))).toMatch(/^\[7,7.{56} \(array of 500\)$/);
  });
});

describe("argument checks", () => {
  it("make one sentence: what was expected, what came", () => {
    const error = invalid("guidanceScale", "a finite number >= 1", -3);
    expect(error).toBeInstanceOf(KpopError);
    expect(error.message).toBe("Expected guidanceScale to be a finite number >= 1 but received -3 (number)");
  });

  it("let finite numbers within the bounds pass, the bounds included", () => {
    for (const value of [-1, 0, 0.5, 2]) expect(finite("x", value, -1, 2)).toBe(value);
    for (const value of [-1.001, 2.001, NaN, Infinity, "1", null, undefined, 1n])
      expect(() => finite("x", value, -1, 2)).toThrow(
        refusal(/^Expected x to be a finite number from -1 to 2/),
      );
    expect(() => finite("x", NaN)).toThrow(
      refusal("Expected x to be a finite number but received NaN (number)"),
    );
    expect(() => finite("x", 5, -Infinity, 2)).toThrow(refusal(/a finite number <= 2 but/));
  });

  it("let integers within the bounds pass, the bounds included", () => {
    for (const value of [1, 2, 3]) expect(integer("n", value, 1, 3)).toBe(value);
    for (const value of [0, 4, 1.5, NaN, Infinity, "2", [2]])
      expect(() => integer("n", value, 1, 3)).toThrow(refusal(/^Expected n to be an integer from 1 to 3/));
    expect(() => integer("n", 2 ** 53)).toThrow(refusal(/an integer but/));
    expect(() => integer("n", -1, 0)).toThrow(refusal(/an integer >= 0 but/));
  });

  it("let strings of a closed set pass, and list the set otherwise", () => {
    expect(oneOf("format", "delta", ["diffusers", "delta"])).toBe("delta");
    for (const value of ["Delta", "", 0, undefined])
      expect(() => oneOf("format", value, ["diffusers", "delta"])).toThrow(
        refusal(/^Expected format to be one of "diffusers", "delta" but received/),
      );
  });

  it("let strings with a visible character pass", () => {
    expect(nonEmptyString("concept", " church ")).toBe(" church ");
    for (const value of ["", " \t\n", 5, null])
      expect(() => nonEmptyString("concept", value)).toThrow(refusal(/concept to be a non-empty string/));
  });

  it("refuse keys that no one reads, naming them and those there are", () => {
    expect(() => knownKeys("the options", { seed: 1, steps: undefined }, ["seed", "steps"])).not.toThrow();
    expect(() => knownKeys("the options", { sed: 1 }, ["seed", "steps"])).toThrow(
      refusal('Unknown option "sed" in the options; it takes seed, steps'),
    );
    expect(() => knownKeys("the options", { a: 1, b: 2 }, ["seed"])).toThrow(
      refusal(/Unknown options "a", "b"/),
    );
  });

  it("refuse options that are no object", () => {
    for (const value of [null, 5, "fast", true])
      expect(() => knownKeys("the options", value as never, ["seed"])).toThrow(
        refusal(/^Expected the options to be an object but received/),
      );
  });
  it("let true and false pass, and nothing that only stands for them", () => {
    expect([flag("force", true), flag("force", false)]).toEqual([true, false]);
    for (const value of ["true", 1, 0, null, undefined])
      expect(() => flag("force", value)).toThrow(refusal(/^Expected force to be true or false but received/));
  });

  it("let a job's signal and listeners pass, or their absence", () => {
    const { signal } = new AbortController();
    expect(() => jobOptions({ signal, onStep: () => 1 } as object, "onStep")).not.toThrow();
    expect(() => jobOptions({}, "onStep")).not.toThrow();
    expect(() => jobOptions({ signal: {} })).toThrow(refusal(/^Expected signal to be an AbortSignal but/));
    expect(() => jobOptions({ onStep: 5 } as object, "onStep")).toThrow(
      refusal(/^Expected onStep to be a function/),
    );
  });
});

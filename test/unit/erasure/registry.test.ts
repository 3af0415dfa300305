import { complete, type OptionSet } from "../../../lib/options/option";
import { defineMethod } from "../../../lib/erasure/method";
import { METHOD_NAMES, methodNamed } from "../../../lib/erasure/registry";

describe("the registry of methods", () => {
  it("names every method once, KPOP first", () => {
    expect(METHOD_NAMES[0]).toBe("kpop");
    expect(new Set(METHOD_NAMES).size).toBe(METHOD_NAMES.length);
  });

  it.each(METHOD_NAMES)("has of %s a paper, a title, and a line of help for each option", (name) => {
    const method = methodNamed(name);
    expect(method.name).toBe(name);
    expect(method.reference).toMatch(/arXiv|doi/);
    const lines = (options: OptionSet): string[] =>
      Object.values(options).flatMap(({ help, flag }) => [
        help,
        ...(flag?.form === "group" ? lines(flag.options) : []),
      ]);
    for (const text of [method.title, method.short, method.cost, ...lines(method.options)])
      expect(text).toMatch(/^\S.*[^.\s]$/);
    expect([Object.isFrozen(method), Object.isFrozen(method.options)]).toEqual([true, true]);
  });

  it.each(METHOD_NAMES)(
    "has of %s defaults that its own checks take, and an entrant of known options",
    (name) => {
      const { options, entrant, check } = methodNamed(name);
      const about = { concepts: ["church", "dog"] };
      for (const given of [{}, entrant || {}]) {
        const values = complete(options, given, about);
        expect(() => check?.(values, about)).not.toThrow();
        expect(Object.keys(options)).toEqual(expect.arrayContaining(Object.keys(given)));
      }
    },
  );

  it("refuses other names, listing those there are", () => {
    for (const name of ["KPOP", "constructor", "", undefined, 5])
      expect(() => methodNamed(name)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining('method to be one of "kpop"'),
        }),
      );
  });
});

describe("defineMethod", () => {
  const whole = {
    ...{ name: "mine", title: "Mine", short: "does something", reference: "arXiv 0000.00000" },
    ...{ cost: "a coffee", kind: "training" as const, options: {}, entrant: false as const },
    run: () => Promise.resolve(),
  };

  it("takes a method that has all it needs, and freezes it", () => {
    const method = defineMethod(whole);
    expect(method).toEqual(whole);
    expect(Object.isFrozen(method)).toBe(true);
  });

  it.each(["title", "short", "reference", "cost", "kind", "options", "entrant", "run"])(
    "refuses one without its %s, by name",
    (field) => {
      expect(() => defineMethod({ ...whole, [field]: undefined })).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(new RegExp(`method "mine" to have ${field}`)) as string,
        }),
      );
    },
  );
});

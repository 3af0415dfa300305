import { METHOD_NAMES, methodNamed } from "../../../lib/erasure/registry";

describe("the registry of methods", () => {
  it("names every method once, KPOP first", () => {
    expect(METHOD_NAMES[0]).toBe("kpop");
    expect(new Set(METHOD_NAMES).size).toBe(METHOD_NAMES.length);
  });

  it.each(METHOD_NAMES)("has of %s a paper, and a line of help for each option", (name) => {
    const method = methodNamed(name);
    expect(method.name).toBe(name);
    expect(method.reference).toMatch(/arXiv|doi/);
    expect(Object.keys(method.help).sort()).toEqual(Object.keys(method.defaults).sort());
    expect(Object.isFrozen(method.defaults)).toBe(true);
  });

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

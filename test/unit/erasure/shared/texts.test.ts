import { fillTemplates } from "../../../../lib/erasure/shared/texts";

describe("fillTemplates", () => {
  it("puts every concept into every template, and remembers which it is", () => {
    expect(fillTemplates(["church", "dog"], ["{}", "a photo of a {}, {}"])).toEqual([
      { text: "church", concept: 0 },
      { text: "a photo of a church, church", concept: 0 },
      { text: "dog", concept: 1 },
      { text: "a photo of a dog, dog", concept: 1 },
    ]);
  });

  it("takes a concept as it is spelt, whatever replacement patterns it looks like", () => {
    expect(fillTemplates(["$& $1 {}"], ["<{}>"])[0]!.text).toBe("<$& $1 {}>");
  });

  it("refuses a template with no place for the concept", () => {
    for (const template of ["a photo", "{ }", "", 5])
      expect(() => fillTemplates(["church"], [template as string])).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining('"{}" in it') }),
      );
  });
});

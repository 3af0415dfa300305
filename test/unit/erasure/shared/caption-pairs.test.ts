import { captionPairs, checkPrompts } from "../../../../lib/erasure/shared/caption-pairs";

const none = { templates: ["{}"], prompts: [] };

describe("captionPairs", () => {
  it("names an object as its anchor is named, in every template", () => {
    const templates = ["{}", "a photo of a {}, a {}"];
    expect(captionPairs({ concept: "grumpy cat", anchor: "cat" }, "object", { ...none, templates })).toEqual([
      { anchor: "cat", targets: ["grumpy cat"] },
      { anchor: "a photo of a cat, a cat", targets: ["a photo of a grumpy cat, a grumpy cat"] },
    ]);
  });

  it("takes a template apart from the name in it", () => {
    expect(
      captionPairs({ concept: "church", anchor: "a photo" }, "object", {
        ...none,
        templates: ["a photo of {}"],
      }),
    ).toEqual([{ anchor: "a photo of a photo", targets: ["a photo of church"] }]);
  });

  it.each([
    ["two Cats and a cat", "two grumpy cats and a grumpy cat"],
    ["the cat's bowl", "the grumpy cat's bowl"],
    ["a cat", "a grumpy cat"],
  ])("puts an object's name in the place of its anchor's: %s", (prompt, target) => {
    const texts = { ...none, prompts: [prompt] };
    expect(captionPairs({ concept: "grumpy cat", anchor: "cat" }, "object", texts)).toEqual([
      { anchor: prompt, targets: [target] },
    ]);
  });

  it("takes of several prompts those that name the anchor as a word", () => {
    const texts = { ...none, prompts: ["a catalogue", "a cat", "bobcat", "a dog"] };
    const pairs = captionPairs({ concept: "lynx", anchor: "cat" }, "object", texts);
    expect(pairs).toEqual([{ anchor: "a cat", targets: ["a lynx"] }]);
  });

  it("takes names as they are written, whatever they mean in a pattern", () => {
    const texts = { ...none, prompts: ["a c++ book (old)"] };
    const pairs = captionPairs({ concept: "$& (new)", anchor: "c++ book (old)" }, "object", texts);
    expect(pairs[0]!.targets).toEqual(["a $& (new)"]);
  });

  it("names a style behind the caption a third of the time, else before it", () => {
    const texts = { ...none, prompts: ["a painting of a lake"] };
    expect(captionPairs({ concept: "Van Gogh", anchor: "painting" }, "style", texts)).toEqual([
      {
        anchor: "a painting of a lake",
        targets: [
          "a painting of a lake, in the style of Van Gogh",
          "in Van Gogh's style, a painting of a lake",
          "in Van Gogh's style, a painting of a lake",
        ],
      },
    ]);
    expect(captionPairs({ concept: "Van Gogh", anchor: "painting" }, "style", none)[0]!.anchor).toBe(
      "painting",
    );
  });

  it("refuses prompts of which none names an object's anchor", () => {
    const texts = { ...none, prompts: ["a dog"] };
    expect(() => captionPairs({ concept: "lynx", anchor: "cat" }, "object", texts)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining('"cat"') as string,
      }),
    );
  });
});

describe("checkPrompts", () => {
  it.each([[[]], [["a cat"]]])("takes %j", (prompts) => {
    expect(() => checkPrompts("anchorPrompts", prompts)).not.toThrow();
  });

  it.each([["a cat"], [[""]], [[5]], [{}]])("refuses %j", (prompts) => {
    expect(() => checkPrompts("anchorPrompts", prompts)).toThrow(/anchorPrompts to be a list/);
  });
});

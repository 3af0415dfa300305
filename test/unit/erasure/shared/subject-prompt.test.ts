import { subjectPrompt } from "../../../../lib/erasure/shared/subject-prompt";
import { CLIPTokenizer } from "../../../../lib/text/clip-tokenizer";
import { golden } from "../../../support/golden";

describe("subjectPrompt", () => {
  let tokenizer: CLIPTokenizer;
  beforeAll(async () => {
    tokenizer = await CLIPTokenizer.fromFiles(golden("small", "tokenizer"));
  });

  // Counted by hand: the start token is 0, and "mckernan" is two tokens (mck, ernan), "$&" as well.
  it.each([
    ["{}", "church", "church", 1],
    ["image of {}", "church", "image of church", 3],
    ["a {} in the sky", "English springer", "a English springer in the sky", 3],
    ["{}'s portrait", "dog", "dog's portrait", 1],
    ["style of {}", "Kelly McKernan", "style of Kelly McKernan", 5],
    ["{} or {}, again", "dog", "dog or dog, again", 3],
    ["{}", "", "", 0],
    ["image of {}", "", "image of ", 2],
    ["{}", "$& {}", "$& {}", 3],
  ])("puts the subject into %j: %j ends at its last token", (template, subject, text, position) => {
    expect(subjectPrompt(tokenizer, template, subject)).toEqual({ text, position });
  });

  it("refuses a template with no place for the subject", () => {
    for (const template of ["a photo", "{ }", "", 5])
      expect(() => subjectPrompt(tokenizer, template as string, "dog")).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining('"{}" in it') }),
      );
  });

  it("refuses a template in which the subject's last word goes on", () => {
    expect(() => subjectPrompt(tokenizer, "many {}es", "church")).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("many churches"),
      }),
    );
  });

  it("refuses a subject that the text encoder would not read to its end", () => {
    const words = (count: number): string => Array<string>(count).fill("dog").join(" ");
    expect(subjectPrompt(tokenizer, "{}", words(75)).position).toBe(75);
    expect(() => subjectPrompt(tokenizer, "{}", words(76))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("77 tokens") }),
    );
    expect(() => subjectPrompt(tokenizer, `${words(75)} {}`, "dog")).toThrow(/77 tokens/);
    expect(subjectPrompt(tokenizer, `{} ${words(200)}`, "dog").position).toBe(1);
  });
});

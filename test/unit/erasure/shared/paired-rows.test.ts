import { pairRows, promptRows } from "../../../../lib/erasure/shared/paired-rows";
import { CLIPTokenizer } from "../../../../lib/text/clip-tokenizer";
import { golden } from "../../../support/golden";

const L = 20;

describe("rows of prompts", () => {
  let tokenizer: CLIPTokenizer;
  beforeAll(async () => {
    tokenizer = await CLIPTokenizer.fromFiles(golden("small", "tokenizer"), { maxLength: L });
  });

  // Every word is one token; the start token is row 0.
  it.each([
    ["last-token", [2, 1], [1, 1]],
    ["tail", [2, L - 2], [1, L - 2]],
    ["all", [0, L], [0, L]],
  ] as const)("are paired by %s", (alignment, [from, count], [guideFrom, guideCount]) => {
    expect(pairRows(tokenizer, ["old church"], ["dog"], ["{}"], alignment)).toEqual([
      {
        source: { text: "old church", from, count },
        guide: { text: "dog", from: guideFrom, count: guideCount },
      },
    ]);
  });

  it("leave off a tail's end where the guide is longer", () => {
    const [pair] = pairRows(tokenizer, ["dog"], ["a big red dog"], ["{}"], "tail");
    expect(pair!.source).toEqual({ text: "dog", from: 1, count: L - 4 });
    expect(pair!.guide).toEqual({ text: "a big red dog", from: 4, count: L - 4 });
  });

  it("come for each concept in each template, its guide in the same", () => {
    const [concepts, guides] = [
      ["dog", "old church"],
      ["", "house"],
    ];
    const pairs = pairRows(tokenizer, concepts, guides, ["{}", "image of {} at night"], "last-token");
    expect(pairs.map(({ source, guide }) => [source.text, source.from, guide.text, guide.from])).toEqual([
      ["dog", 1, "", 0],
      ["image of dog at night", 3, "image of  at night", 2],
      ["old church", 2, "house", 1],
      ["image of old church at night", 4, "image of house at night", 3],
    ]);
  });

  it("stand for a prompt: its last token's, or all", () => {
    expect(promptRows(tokenizer, "a big dog", "last-token")).toEqual({
      text: "a big dog",
      from: 3,
      count: 1,
    });
    expect(promptRows(tokenizer, "a big dog", "tail")).toEqual({ text: "a big dog", from: 0, count: L });
    expect(promptRows(tokenizer, "a big dog", "all")).toEqual({ text: "a big dog", from: 0, count: L });
  });
});

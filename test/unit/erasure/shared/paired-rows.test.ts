import { pairRows, promptRows, walk } from "../../../../lib/erasure/shared/paired-rows";
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

  // Row 0 is the start token's, the last number that of the end token's; the padding behind goes on one to one, and what
  // has no row left stays at the last.
  it.each<[string, string, number[]]>([
    ["dog", "dog", [0, 1, 2]],
    ["dog", "dog at night", [0, 1, 4]],
    ["a dog", "a dog with new hair", [0, 1, 2, 6]],
    ["old church", "a big old red church in the snow", [0, 3, 5, 9]],
    ["dog", "a dog and a dog", [0, 2, 6]],
    ["a dog and dog", "a dog and a dog", [0, 1, 2, 3, 5, 6]],
    ["an old dog", "a dog of a very old dog", [0, 1, 6, 7, 8]],
    ["", "dog", [0, 2]],
  ])("are walked along from %j to %j, the end token going with the other's", (source, target, rows) => {
    const [from, to] = [rows.length - 1, rows.at(-1)!];
    const padding = Array.from({ length: L - 1 - from }, (_, i) => Math.min(to + 1 + i, L - 1));
    expect(walk(tokenizer, source, target)).toEqual([...rows, ...padding]);
  });

  it("are walked along to the end of a text that fills all rows, where padding has no row of its own", () => {
    const full = Array<string>(L - 2)
      .fill("dog")
      .join(" ");
    expect(walk(tokenizer, "dog", full)).toEqual([0, 1, ...Array<number>(L - 2).fill(L - 1)]);
    expect(walk(tokenizer, full, full)).toEqual(Array.from({ length: L }, (_, row) => row));
  });

  it("have no walk where a token is missing, or stands elsewhere", () => {
    expect(walk(tokenizer, "dog", "church")).toBeNull();
    expect(walk(tokenizer, "old dog", "dog so old")).toBeNull();
    expect(walk(tokenizer, "dog dog", "a dog")).toBeNull();
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

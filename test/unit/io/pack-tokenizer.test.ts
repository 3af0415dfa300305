import { readFileSync } from "node:fs";
import { packTokenizer, unpackTokenizer } from "../../../lib/io/pack-tokenizer";
import { standardVocabulary } from "../../../lib/io/clip-vocabulary";
import { mergeLines } from "../../../lib/io/tokenizer-files";
import { golden, pocket } from "../../support/golden";

const read = (at: (...parts: string[]) => string) => ({
  vocab: readFileSync(at("tokenizer", "vocab.json"), "utf8"),
  merges: readFileSync(at("tokenizer", "merges.txt"), "utf8"),
  config: readFileSync(at("tokenizer", "tokenizer_config.json"), "utf8"),
});
const clip = read((...parts) => golden("small", ...parts));
const small = read(pocket);

describe("CLIP's vocabulary", () => {
  it("follows from its merges", () => {
    const expected = Object.entries(JSON.parse(clip.vocab) as Record<string, number>);
    expect(standardVocabulary(mergeLines(clip.merges))).toEqual(new Map(expected));
    expect(expected).toHaveLength(49408);
  });
});

describe("a packed tokenizer", () => {
  it.each([
    ["CLIP's, without its vocabulary", clip, 600_000],
    ["another, with it", small, 20_000],
  ])("is short and gives the same files back: %s", (_, files, limit) => {
    const packed = packTokenizer(files)!;
    expect(packed.length).toBeLessThan(limit);
    const unpacked = unpackTokenizer(packed, "x");
    expect({ ...unpacked, vocab: JSON.parse(unpacked.vocab!) as unknown }).toEqual({
      ...files,
      vocab: JSON.parse(files.vocab) as unknown,
    });
  });

  it("may come from a tokenizer.json", () => {
    const merges = small.merges.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const model = {
      type: "BPE",
      end_of_word_suffix: "</w>",
      vocab: JSON.parse(small.vocab) as object,
      merges: merges.map((line) => line.split(" ")),
    };
    const unpacked = unpackTokenizer(packTokenizer({ tokenizer: JSON.stringify({ model }) })!, "x");
    expect(JSON.parse(unpacked.vocab!)).toEqual(model.vocab);
    expect(unpacked.merges!.split("\n").slice(1, -1)).toEqual(merges);
  });

  it("is not made when it would be long", () => {
    const vocab = JSON.stringify({ ["x".repeat(1_000_000)]: 0 });
    expect(packTokenizer({ vocab, merges: "#version: 0.2\n" })).toBeNull();
  });

  it.each(["[]", "{}", '{"merges":3}', '{"merges":"","vocab":{}}'])("is refused when damaged: %s", (text) => {
    expect(() => unpackTokenizer(text, "x")).toThrow(
      expect.objectContaining({ code: "INVALID_CHECKPOINT" }) as Error,
    );
  });
});

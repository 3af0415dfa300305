import { readFileSync } from "node:fs";
import { packTokenizer, unpackTokenizer } from "../../../lib/io/pack-tokenizer";
import type { PackedPairs } from "../../../lib/io/pack-tokenizer";
import { bytePairTablesInTurns } from "../../../lib/io/byte-pair-tables";
import { standardTokens, standardVocabulary, vocabularyText } from "../../../lib/io/clip-vocabulary";
import { atOnce } from "../../../lib/io/in-turns";
import { mergeLines } from "../../../lib/io/tokenizer-files";
import { golden, pocket } from "../../support/golden";

const read = (at: (...parts: string[]) => string) => ({
  vocab: readFileSync(at("tokenizer", "vocab.json"), "utf8"),
  merges: readFileSync(at("tokenizer", "merges.txt"), "utf8"),
  config: readFileSync(at("tokenizer", "tokenizer_config.json"), "utf8"),
});
const clip = read((...parts) => golden("small", ...parts));
const small = read(pocket);

type Vocabulary = Record<string, number>;

/** The turns that others on the JS thread have until something is done. */
async function counted<T>(work: Promise<T>): Promise<{ value: T; turns: number }> {
  let turns = 0;
  const count = (): void => {
    turns += 1;
    counting = setImmediate(count);
  };
  let counting = setImmediate(count);
  try {
    return { value: await work, turns };
  } finally {
    clearImmediate(counting);
  }
}

describe("CLIP's vocabulary", () => {
  it("follows from its merges", () => {
    const expected = JSON.parse(clip.vocab) as Record<string, number>;
    const tokens = atOnce(standardTokens(mergeLines(clip.merges)));
    expect(Object.fromEntries(tokens.map((token, id) => [token, id]))).toEqual(expected);
    expect(tokens).toHaveLength(49408);
    expect(atOnce(standardVocabulary(mergeLines(clip.merges)))).toBe(JSON.stringify(expected));
  });

  it("is written as JSON.stringify writes it, whole numbers first", () => {
    const names = [
      "b",
      "10",
      "9",
      "4294967295",
      "4294967294",
      "01",
      "1e3",
      "-1",
      "",
      "__proto__",
      '"',
      "\ud800",
    ];
    const entries = new Map(names.map((name, id) => [name, id]));
    expect(atOnce(vocabularyText(entries))).toBe(JSON.stringify(Object.fromEntries(entries)));
  });
});

describe("a packed tokenizer", () => {
  it.each([
    ["CLIP's, without its vocabulary", clip, 600_000],
    ["another, with it", small, 20_000],
  ])("is short and gives the same files back: %s", async (_, files, limit) => {
    const packed = (await packTokenizer(files))!;
    expect(packed.length).toBeLessThan(limit);
    const unpacked = await unpackTokenizer(packed, "x");
    expect({ ...unpacked, vocab: JSON.parse(unpacked.vocab!) as unknown }).toEqual({
      ...files,
      vocab: JSON.parse(files.vocab) as unknown,
    });
  });

  it("is made once for the same files, with turns for others on the JS thread", async () => {
    const made: PackedPairs = new Map();
    const files = { ...clip, vocab: `${clip.vocab} ` };
    const tables = await bytePairTablesInTurns(files);
    const { value: packed, turns } = await counted(packTokenizer(files, made));
    expect(turns).toBeGreaterThan(50);
    const second = await counted(packTokenizer({ ...files, config: "{}" }, made));
    expect(JSON.parse(second.value!)).toEqual({ ...(JSON.parse(packed!) as object), config: "{}" });
    expect(second.turns).toBeLessThan(5);
    expect([...made.keys()]).toEqual([tables]);
    expect((await counted(unpackTokenizer(packed!, "x"))).turns).toBeGreaterThan(50);
  });

  it.each([
    ["a merge of one", { merges: "#version: 0.2\nabc\n" }],
    ["an id that is not an integer", { vocab: '{"b":0.5,"1":null}' }],
    ["an empty vocabulary", { vocab: "{}" }],
  ])("holds files that do not fit together as they are: %s", async (_, damage) => {
    const files = { ...small, ...damage };
    expect(await unpackTokenizer((await packTokenizer(files))!, "x")).toEqual({
      ...files,
      vocab: JSON.stringify(JSON.parse(files.vocab)),
    });
  });

  it.each([
    ["lacks a token", (vocab: Vocabulary) => delete vocab["!"]],
    ["has one more", (vocab: Vocabulary) => (vocab["<x>"] = 49408)],
    ["has two the other way round", (vocab: Vocabulary) => ([vocab["!"], vocab["#"]] = [2, 0])],
  ])("holds a vocabulary that %s", async (_, change) => {
    const vocab = JSON.parse(atOnce(standardVocabulary(["a b</w>", "1 0"]))) as Vocabulary;
    const merges = "#version: 0.2\na b</w>\n1 0\n";
    expect(await packTokenizer({ vocab: JSON.stringify(vocab), merges })).toBe(JSON.stringify({ merges }));
    change(vocab);
    const text = JSON.stringify(vocab);
    expect(await packTokenizer({ vocab: text, merges })).toBe(JSON.stringify({ vocab: text, merges }));
  });

  it("may come from a tokenizer.json", async () => {
    const merges = small.merges.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const model = {
      type: "BPE",
      end_of_word_suffix: "</w>",
      vocab: JSON.parse(small.vocab) as object,
      merges: merges.map((line) => line.split(" ")),
    };
    const unpacked = await unpackTokenizer(
      (await packTokenizer({ tokenizer: JSON.stringify({ model }) }))!,
      "x",
    );
    expect(JSON.parse(unpacked.vocab!)).toEqual(model.vocab);
    expect(unpacked.merges!.split("\n").slice(1, -1)).toEqual(merges);
  });

  it("is not made when it would be long", async () => {
    const vocab = JSON.stringify({ ["x".repeat(1_000_000)]: 0 });
    expect(await packTokenizer({ vocab, merges: "#version: 0.2\n" })).toBeNull();
  });

  it.each(["[]", "{}", '{"merges":3}', '{"merges":"","vocab":{}}'])(
    "is refused when damaged: %s",
    async (text) => {
      await expect(unpackTokenizer(text, "x")).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
    },
  );
});

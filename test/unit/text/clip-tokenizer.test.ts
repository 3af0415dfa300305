import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { bytePairTables, bytePairTablesInTurns } from "../../../lib/io/byte-pair-tables";
import { CLIPTokenizer } from "../../../lib/text/clip-tokenizer";
import reference from "../../fixtures/tokenizer/reference.json";

const root = resolve(__dirname, "../../..");
const SD = join(root, "test/fixtures/golden/small/tokenizer");
const POCKET = join(root, "models/pocket/tokenizer");
const whole = { padding: false, truncation: false };

let sd: CLIPTokenizer;
let pocket: CLIPTokenizer;
let vocab: string;
let merges: string;

beforeAll(async () => {
  sd = await CLIPTokenizer.fromFiles(SD);
  pocket = await CLIPTokenizer.fromFiles(POCKET, { maxLength: 24 });
  vocab = await readFile(join(SD, "vocab.json"), "utf8");
  merges = await readFile(join(SD, "merges.txt"), "utf8");
});

describe("CLIPTokenizer against transformers", () => {
  it.each(reference.texts.map((text, i) => [JSON.stringify(text).slice(0, 50), i] as const))(
    "gives the reference's ids for %s",
    (_, i) => {
      expect(sd.encode(reference.texts[i]!, whole)).toEqual([reference.sd[i]]);
      expect(pocket.encode(reference.texts[i]!, whole)).toEqual([reference.pocket[i]]);
    },
  );

  it("pads and cuts rows to the model's length by default", () => {
    expect(pocket.encode(reference.texts)).toEqual(reference.pocketRows);
    expect(sd.encode(reference.texts.slice(-3))).toEqual(reference.sdRowLast);
  });

  it("writes out and leaves out special tokens when decoding", () => {
    expect(reference.sd.map((row) => sd.decode(row))).toEqual(reference.decoded);
    expect(reference.sd.map((row) => sd.decode(row, { skipSpecialTokens: true }))).toEqual(
      reference.decodedPlain,
    );
  });

  it("names the tokens of a text as the vocabulary writes them", () => {
    expect(sd.tokenize(reference.texts.at(-1)!)).toEqual(reference.tokens);
  });

  it.each(Object.entries(reference.variants))(
    "reads special and added tokens of a %s config",
    (_, variant) => {
      const text = (key: string): string | undefined => {
        const value = (variant as Record<string, unknown>)[key];
        return value === undefined ? undefined : JSON.stringify(value);
      };
      const contents = { vocab, merges, config: text("config")! };
      const extra = Object.fromEntries(
        ["specialTokensMap", "addedTokens"].map((key) => [key, text(key)]).filter(([, value]) => value),
      ) as { specialTokensMap?: string; addedTokens?: string };
      const tokenizer = new CLIPTokenizer({ ...contents, ...extra }, { maxLength: 20 });
      expect(tokenizer.encode(reference.variantTexts)).toEqual(variant.rows);
    },
  );
});

describe("CLIPTokenizer", () => {
  it("makes the tables of its files once, with turns for others on the JS thread", async () => {
    const files = { vocab: `${vocab} `, merges };
    let turns = 0;
    const ticking = setInterval(() => (turns += 1), 0);
    const first = await CLIPTokenizer.from(files, { maxLength: 77 });
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(10);
    expect(first.encode(reference.texts, whole)).toEqual(reference.sd);
    const tables = bytePairTables(files);
    expect(bytePairTables({ vocab: `${vocab} `, merges, config: "{}" })).toBe(tables);
    expect(await bytePairTablesInTurns(files)).toBe(tables);
    expect(bytePairTables({ vocab: `${vocab}  `, merges })).not.toBe(tables);
    expect(bytePairTables({ vocab: `${vocab}  `, merges })).toEqual(tables);
  });

  it("knows its length and special ids", () => {
    expect([sd.maxLength, sd.bosTokenId, sd.eosTokenId, sd.padTokenId, sd.vocabSize]).toEqual([
      77, 49406, 49407, 49407, 49408,
    ]);
    expect([pocket.maxLength, pocket.bosTokenId, pocket.eosTokenId, pocket.padTokenId]).toEqual([
      24, 723, 724, 724,
    ]);
  });

  it("lets padding and truncation be switched off one by one", () => {
    const long = "photo ".repeat(100);
    expect(sd.encode(["a", long], { padding: false }).map((row) => row.length)).toEqual([3, 77]);
    expect(sd.encode(["a", long], { truncation: false }).map((row) => row.length)).toEqual([77, 102]);
    expect(sd.encode([])).toEqual([]);
  });

  it("takes words of 100,000 characters in time that grows with their length", () => {
    const started = performance.now();
    const ids = ["a", "ab", "!", "é", "supercalifragilistic"].map(
      (word) => sd.encode(word.repeat(100_000 / word.length), whole)[0]!.length,
    );
    expect(ids).toEqual([12_503, 50_002, 6_253, 100_002, 25_002]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it("reads single files, line ends of Windows and a tokenizer.json", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    try {
      const paths = { vocab: join(SD, "vocab.json"), merges: join(folder, "windows.txt") };
      await writeFile(paths.merges, merges.replaceAll("\n", "\r\n"));
      const single = await CLIPTokenizer.fromFiles(paths, { maxLength: 8 });
      expect(single.encode("a photo")).toEqual([[49406, 320, 1125, 49407, 49407, 49407, 49407, 49407]]);

      const model = {
        type: "BPE",
        end_of_word_suffix: "</w>",
        vocab: JSON.parse(vocab) as object,
        merges: merges
          .split("\n")
          .slice(1, -1)
          .map((line) => line.split(" ")),
      };
      await writeFile(join(folder, "tokenizer.json"), JSON.stringify({ model, added_tokens: [] }));
      const joined = await CLIPTokenizer.fromFiles(folder, { maxLength: 77 });
      expect(joined.encode(reference.texts, whole)).toEqual(reference.sd);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("refuses text that has no UTF-8 form, and what is not text", () => {
    for (const text of ["a\ud800b", "\udc00", ["fine", "\ude00\ud83d"]])
      expect(() => sd.encode(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => sd.encode("a\ud800b")).toThrow(/surrogate pair at index 1/);
    expect(() => sd.encode(7 as unknown as string)).toThrow(/a string or an array of strings/);
    expect(() => sd.encode("a", { pad: true } as object)).toThrow(/Unknown option "pad"/);
    expect(() => sd.encode("a", { padding: "yes" as unknown as boolean })).toThrow(/padding/);
    expect(() => sd.decode([49408])).toThrow(/a token id below 49408/);
  });

  it("needs a length from the caller or the config", () => {
    expect(() => new CLIPTokenizer({ vocab, merges })).toThrow(/maxLength/);
    expect(() => new CLIPTokenizer({ vocab, merges }, { maxLength: 1 })).toThrow(/maxLength/);
  });

  it.each([
    ["a vocabulary that is not JSON", { vocab: "{" }, /vocab\.json is not JSON/],
    ["a vocabulary that is a list", { vocab: "[]" }, /JSON object/],
    ["an empty vocabulary", { vocab: "{}" }, /empty/],
    ["an id that is not an integer", { vocab: '{"a": 0.5}' }, /"a" to be an integer/],
    ["two tokens of one id", { vocab: '{"a": 1, "b": 1}' }, /share an id/],
    ["a merge of three", { merges: "a b c" }, /merge 1 to be two tokens/],
    ["a merge of one", { merges: "#version: 0.2\ni n\nabc" }, /merge 2 to be two tokens/],
    ["a merge whose join has no id", { merges: "z qq" }, /needs the token "(?:qq|zqq)"/],
    ["a start token without an id", { vocab: '{"a": 0}', merges: "" }, /lacks the bos_token/],
    [
      "an added token on another's id",
      { addedTokens: '{"<x>": 49408, "<y>": 49408}' },
      /"<y>" has the id 49408, but that is the id of "<x>"/,
    ],
    [
      "an added token against the vocabulary",
      { addedTokens: '{"photo</w>": 5}' },
      /the id 5, but 1125 in the vocabulary/,
    ],
    ["an added token on a vocabulary id", { addedTokens: '{"<x>": 5}' }, /that is the id of "&"/],
  ])("refuses %s", (_, files, message) => {
    const make = (): CLIPTokenizer => new CLIPTokenizer({ vocab, merges, ...files }, { maxLength: 77 });
    expect(make).toThrow(message);
    expect(make).toThrow(expect.objectContaining({ code: "INVALID_CHECKPOINT" }));
  });

  it("refuses another model's tokenizer and a folder without one", async () => {
    const t5 = { vocab, merges, config: '{"tokenizer_class": "T5Tokenizer"}' };
    expect(() => new CLIPTokenizer(t5)).toThrow(expect.objectContaining({ code: "UNSUPPORTED_MODEL" }));
    await expect(CLIPTokenizer.fromFiles(join(root, "lib"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(CLIPTokenizer.fromFiles({ vocab: "nowhere", merges: "nowhere" })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

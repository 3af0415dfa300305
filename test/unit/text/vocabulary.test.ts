import { textIds, wholeWords } from "../../../lib/text/vocabulary";
import { CLIPTokenizer } from "../../../lib/text/clip-tokenizer";
import { golden } from "../../support/golden";

describe("textIds", () => {
  it("lists every token that reads as text, and no other", async () => {
    const tokenizer = await CLIPTokenizer.fromFiles(golden("small", "tokenizer"));
    const ids = new Set(await textIds(tokenizer));
    const idsOf = (text: string): number[] => tokenizer.encode(text, { padding: false })[0]!.slice(1, -1);
    for (const id of idsOf("a photo of a church, 1888!")) expect(ids).toContain(id);
    expect(ids.has(tokenizer.bosTokenId) || ids.has(tokenizer.eosTokenId)).toBe(false);
    for (const id of [...ids].slice(0, 3000)) expect(tokenizer.decode([id])).toMatch(/^[^\s\p{Cc}\ufffd]+$/u);
    expect(ids.size).toBeGreaterThan(48000);
    expect(ids.size).toBeLessThan(49406);
  });

  it("passes over the gaps of a vocabulary", async () => {
    const vocab = JSON.stringify({ "a</w>": 0, "<|startoftext|>": 4, "<|endoftext|>": 6 });
    const tokenizer = new CLIPTokenizer({ vocab, merges: "#version: 0.2\n" }, { maxLength: 5 });
    expect(tokenizer.vocabSize).toBe(7);
    expect(await textIds(tokenizer)).toEqual([0]);
  });
});

describe("wholeWords", () => {
  it("lists words that are one token each, of three letters or more, and parts of words none", async () => {
    const tokenizer = await CLIPTokenizer.fromFiles(golden("small", "tokenizer"));
    const words = await wholeWords(tokenizer);
    expect(words).toEqual(expect.arrayContaining(["church", "dog", "parachute"]));
    for (const other of ["a", "of", "1888", "!", "paracetamol"]) expect(words).not.toContain(other);
    expect(new Set(words).size).toBe(words.length);
    for (const word of words.slice(0, 3000)) {
      expect(word).toMatch(/^\p{L}{3,}$/u);
      expect(tokenizer.encode([word], { padding: false })[0]).toHaveLength(3);
    }
  });
});

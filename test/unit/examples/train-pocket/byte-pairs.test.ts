import { learnBytePairs } from "../../../../examples/train-pocket/byte-pairs";
import { allCaptions } from "../../../../examples/train-pocket/captions";
import { CLIPTokenizer } from "../../../../lib/text/clip-tokenizer";

function tokenizer(texts: readonly string[]): CLIPTokenizer {
  const { vocab, merges } = learnBytePairs(texts);
  return new CLIPTokenizer({ vocab: JSON.stringify(vocab), merges }, { maxLength: 24 });
}

describe("learnBytePairs", () => {
  it("merges the commonest pair first, the first in the alphabet among equals", () => {
    const { merges } = learnBytePairs(["abab abab", "cd"]);
    expect(merges.split("\n").slice(1, 4)).toEqual(["a b", "a b</w>", "ab ab</w>"]);
  });

  it("gives every word of the captions one token", () => {
    const clip = tokenizer(allCaptions());
    for (const caption of allCaptions()) {
      const words = caption.match(/[a-z]+|[^\sa-z]+/g) ?? [];
      expect(clip.tokenize(caption)).toEqual(words.map((word) => `${word}</w>`));
    }
  });

  it("writes other texts in bytes, so that nothing is unknown", () => {
    const clip = tokenizer(["a photo"]);
    const text = "naïve 猫 🙂";
    expect(clip.decode(clip.encode(text, { padding: false })[0]!)).toContain(text);
  });

  it("numbers bytes, ending bytes, merges, and the special tokens last", () => {
    const { vocab, merges, bosId, eosId } = learnBytePairs(["a photo"]);
    expect(Object.keys(vocab)).toHaveLength(512 + merges.trim().split("\n").length - 1 + 2);
    expect([vocab["!"], vocab["!</w>"], vocab["<|startoftext|>"], vocab["<|endoftext|>"]]).toEqual([
      0,
      256,
      bosId,
      eosId,
    ]);
  });
});

import { Image } from "../../../../lib/io/image";
import { PromptKey } from "../../../../lib/diffusion/prompt-key";
import { Tensor } from "../../../../lib/runtime/tensor";
import { keyFor, thumbnail } from "../../../../bench/measure/pictures";

describe("a thumbnail", () => {
  it("is the picture itself where that is small", () => {
    const image = new Image(128, 64, new Uint8Array(128 * 64 * 3));
    expect(thumbnail(image)).toBe(image);
  });

  it("is made of the means of whole blocks", () => {
    // 256 columns, so blocks of 2 × 2; red is the column, green the row, blue their sum modulo 256.
    const data = Uint8Array.from({ length: 256 * 2 * 3 }, (_, index) => {
      const [column, row, channel] = [Math.floor(index / 3) % 256, Math.floor(index / 768), index % 3];
      return [column, row * 100, (column + row) % 256][channel]!;
    });
    const small = thumbnail(new Image(256, 2, data));
    expect([small.width, small.height]).toEqual([128, 1]);
    // Means of (2, 3, 2, 3), (0, 0, 100, 100) and (2, 3, 3, 4), halves rounded up.
    expect([...small.data.slice(3, 6)]).toEqual([3, 50, 3]);
  });
});

describe("the part of a key for a name", () => {
  const concepts = ["church", "dog"];
  const prompt = Tensor.from([1, 2, 3, 4], [2, 1, 2]);
  const key = new PromptKey({ prompt, mechanism: "concat", layers: "mid", concepts });

  it("is the concept's own", async () => {
    expect([...(await keyFor(key, "dog").prompt.data())]).toEqual([3, 4]);
  });

  it("is the first one's for what the key does not know", async () => {
    expect([...(await keyFor(key, "fish").prompt.data())]).toEqual([1, 2]);
  });
});

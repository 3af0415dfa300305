import { readFileSync } from "node:fs";
import { Image } from "../../../lib/io/image";
import { IMAGENET_COLOURS, preprocess, type Preprocessing } from "../../../lib/evaluation/preprocess";
import { evaluationFixture, noisePicture } from "../../support/evaluation";

const reference = JSON.parse(readFileSync(evaluationFixture("preset.json"), "utf8")) as Record<
  string,
  number[]
>;
const preset = (resize: number | null, crop: number | null): Preprocessing => ({
  resize,
  crop,
  interpolation: "bilinear",
  ...IMAGENET_COLOURS,
});

describe("preprocess", () => {
  it.each([
    [232, 224, 28],
    [41, 26, 4],
  ])("equals torchvision's preset, resized to %i and cropped to %i", async (resize, crop, step) => {
    const image = await Image.load(evaluationFixture("picture.png"));
    const pixels = preprocess([image], preset(resize, crop));
    expect([pixels.dtype, pixels.shape]).toEqual(["float32", [1, 3, crop, crop]]);
    const sampled = await pixels.slice(2, 0, crop, step).slice(3, 0, crop, step).contiguous().data();
    expect(Array.from(sampled, Number)).toEqual(reference[`${resize}-${crop}`]);
  });

  it("resizes the shorter side, whichever it is", () => {
    const none = { ...preset(20, null) };
    expect(preprocess([noisePicture(50, 31)], none).shape).toEqual([1, 3, 20, 32]);
    expect(preprocess([noisePicture(31, 50)], none).shape).toEqual([1, 3, 32, 20]);
  });

  it("rounds half of an odd margin to even, or down where that is asked for", async () => {
    // A picture whose red is its column: the first value tells where the crop begins.
    const data = Uint8Array.from({ length: 12 * 12 * 3 }, (_, i) =>
      i % 3 === 0 ? Math.floor(i / 3) % 12 : 0,
    );
    const plain = { resize: null, interpolation: "bilinear", mean: [0, 0, 0], std: [1, 1, 1] } as const;
    const start = async (crop: number, margin: "even" | "down") => {
      const pixels = preprocess([new Image(12, 12, data)], { ...plain, crop, margin });
      return Math.round(Number((await pixels.data())[0]) * 255);
    };
    expect([await start(9, "even"), await start(9, "down")]).toEqual([2, 1]); // 1.5
    expect([await start(7, "even"), await start(7, "down")]).toEqual([2, 2]); // 2.5
    expect([await start(8, "even"), await start(8, "down")]).toEqual([2, 2]); // 2
  });

  it("takes pictures of several sizes where resizing and crop make them one", async () => {
    const images = [noisePicture(30, 40), noisePicture(30, 40), noisePicture(64, 33), noisePicture(30, 40)];
    const together = preprocess(images, preset(24, 20));
    expect(together.shape).toEqual([4, 3, 20, 20]);
    const alone = await preprocess([images[2]!], preset(24, 20)).data();
    expect(await together.slice(0, 2, 3).contiguous().data()).toEqual(alone);
  });

  it("refuses pictures that the network cannot take", () => {
    const sizes = [noisePicture(8, 8), noisePicture(8, 9)];
    expect(() => preprocess(sizes, preset(null, null))).toThrow(/one size.*3 × 8 × 8 and 3 × 9 × 8/);
    expect(() => preprocess([noisePicture(8, 30)], preset(null, 9))).toThrow(
      /at least 9 × 9.*received 8 × 30/,
    );
    expect(() => preprocess([], preset(null, null))).toThrow(/images to be a non-empty list/);
  });
});

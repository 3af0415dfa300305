import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Image } from "../../../lib/io/image";
import { resample, type Interpolation } from "../../../lib/io/resample";
import { scope } from "../../../lib/runtime/scope";
import { Tensor } from "../../../lib/runtime/tensor";
import { evaluationFixture, noisePicture } from "../../support/evaluation";

interface Case {
  picture: string;
  filter: Interpolation;
  size: [number, number];
  sha256: string;
  head?: number[];
}
const cases = JSON.parse(readFileSync(evaluationFixture("resize.json"), "utf8")) as Case[];

/** (3, H, W) uint8. */
const planes = ({ data, width, height }: Image): Tensor =>
  Tensor.from(data, [height, width, 3]).permute([2, 0, 1]);

/** Interleaved bytes of a resized picture. */
async function resized(image: Image, [width, height]: [number, number], filter: Interpolation) {
  return scope(async () => {
    const result = resample(planes(image), { width, height }, filter);
    expect([result.dtype, result.shape]).toEqual(["uint8", [3, height, width]]);
    return Buffer.from((await result.permute([1, 2, 0]).contiguous().data()) as Uint8Array);
  });
}

describe("resample", () => {
  let pictures: Record<string, Image>;
  beforeAll(async () => {
    pictures = {
      "picture.png": await Image.load(evaluationFixture("picture.png")),
      noise: noisePicture(97, 61),
    };
  });

  it("gives Pillow's bytes for every size and filter", async () => {
    expect(cases.length).toBeGreaterThan(30);
    for (const { picture, filter, size, sha256, head } of cases) {
      const bytes = await resized(pictures[picture]!, size, filter);
      if (head !== undefined) expect([...bytes.subarray(0, head.length)]).toEqual(head);
      const hash = createHash("sha256").update(bytes).digest("hex");
      expect([picture, filter, size, hash]).toEqual([picture, filter, size, sha256]);
    }
  });

  it("resizes a batch as it resizes each", async () => {
    const image = pictures["noise"]!;
    const both = Tensor.stack([planes(image), planes(image)]);
    const result = resample(both, { width: 40, height: 30 }, "bicubic");
    const bytes = Buffer.from((await result.permute([0, 2, 3, 1]).contiguous().data()) as Uint8Array);
    const one = await resized(image, [40, 30], "bicubic");
    expect(bytes.equals(Buffer.concat([one, one]))).toBe(true);
  });

  it("leaves a picture of that size as it is, and gives a tensor of its own", async () => {
    const image = pictures["noise"]!;
    const input = planes(image);
    const result = resample(input, { width: 97, height: 61 }, "bilinear");
    input.dispose();
    expect(await result.permute([1, 2, 0]).contiguous().data()).toEqual(image.data);
  });

  it("refuses sizes below a pixel and unknown filters", () => {
    const input = planes(pictures["noise"]!);
    expect(() => resample(input, { width: 0, height: 2 }, "bilinear")).toThrow(/width to be an integer >= 1/);
    expect(() => resample(input, { width: 2, height: 2 }, "nearest" as Interpolation)).toThrow(
      /interpolation to be one of "bilinear", "bicubic"/,
    );
  });
});

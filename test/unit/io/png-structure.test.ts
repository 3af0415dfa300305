import { Image } from "../../../lib/io/image";
import { pngSize } from "../../../lib/io/png-structure";

describe("pngSize", () => {
  let png: Buffer;
  beforeAll(async () => {
    const data = Uint8Array.from({ length: 9 * 7 * 3 }, (_, i) => (i * 37) % 256);
    png = await new Image(9, 7, data).png();
  });

  it("is that of a whole PNG", () => {
    expect(pngSize(png)).toEqual({ width: 9, height: 7 });
  });

  it("is null wherever the file ends early", () => {
    for (let length = 0; length < png.length; length++)
      expect([length, pngSize(png.subarray(0, length))]).toEqual([length, null]);
    expect(pngSize(Buffer.concat([png, Buffer.of(0)]))).toBeNull();
  });

  it("is null whichever bit is flipped", () => {
    for (let at = 0; at < png.length; at++) {
      const broken = Buffer.from(png);
      broken[at]! ^= 1 << (at % 8);
      expect([at, pngSize(broken)]).toEqual([at, null]);
    }
  });

  it("is null for other files, and for a PNG without pixels or with two headers", () => {
    expect(pngSize(Buffer.from("GIF89a, and some more text"))).toBeNull();
    const header = png.subarray(8, 33);
    const end = png.subarray(-12);
    expect(pngSize(Buffer.concat([png.subarray(0, 33), end]))).toBeNull();
    expect(pngSize(Buffer.concat([png.subarray(0, 33), header, png.subarray(33)]))).toBeNull();
    expect(pngSize(Buffer.concat([png.subarray(0, 8), png.subarray(33)]))).toBeNull();
  });
});

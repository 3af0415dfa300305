import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { Image } from "../../../lib/io/image";
import { temporaryDirectory } from "../../support/temporary-directory";

/** RGB of a picture, each byte another one. */
function image(width: number, height: number, start = 0): Image {
  return new Image(
    width,
    height,
    Uint8Array.from({ length: width * height * 3 }, (_, i) => (start + i * 7) % 256),
  );
}

/** RGB as another decoder sees it. */
function decoded(png: Buffer): { width: number; height: number; data: Uint8Array } {
  const { width, height, data } = PNG.sync.read(png);
  return { width, height, data: Uint8Array.from(data.filter((_, i) => i % 4 !== 3)) };
}

describe("Image", () => {
  it("becomes a PNG with the same pixels, larger than one chunk of the stream", async () => {
    const data = Uint8Array.from(
      { length: 200 * 150 * 3 },
      (_, i) => (Math.imul(i, 2654435761) >>> 13) & 255,
    );
    expect(decoded(await new Image(200, 150, data).png())).toEqual({ width: 200, height: 150, data });
  });

  it("is saved to a file", async () => {
    const path = join(temporaryDirectory(), "a.png");
    const picture = image(5, 3);
    await picture.save(path);
    expect(decoded(readFileSync(path))).toEqual({ width: 5, height: 3, data: picture.data });
  });

  it("refuses data of another size", () => {
    expect(() => new Image(2, 2, new Uint8Array(11))).toThrow("2 × 2 × 3 bytes but received 11");
  });

  it("lies in a grid at its row and column, white between and where a row is short", () => {
    const [a, b, c] = [image(2, 1, 0), image(2, 1, 50), image(2, 1, 100)];
    const grid = Image.grid([[a, b], [c]], 1);
    expect([grid.width, grid.height]).toEqual([5, 3]);
    const white = (pixels: number) => Array<number>(pixels * 3).fill(255);
    expect([...grid.data]).toEqual([...a.data, ...white(1), ...b.data, ...white(5), ...c.data, ...white(3)]);
  });

  it("shares a grid only with pictures of its size", () => {
    expect(() => Image.grid([[image(2, 1), image(1, 2)]])).toThrow("Expected pictures of 2 × 1");
    expect(() => Image.grid([])).toThrow("at least one picture");
  });
});

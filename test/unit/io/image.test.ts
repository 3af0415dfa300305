import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { Image } from "../../../lib/io/image";
import { temporaryDirectory } from "../../support/temporary-directory";

/** A picture that hardly compresses, so that a large one is more than one chunk of a stream. */
function pattern(width: number, height: number): Image {
  const data = Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 255,
  );
  return new Image(width, height, data);
}
const solid = (width: number, height: number, value: number): Image =>
  new Image(width, height, new Uint8Array(width * height * 3).fill(value));

/** RGB of a PNG, by pngjs' own reader. */
function decoded(bytes: Buffer): { width: number; height: number; rgb: Buffer; alpha: Set<number> } {
  const { width, height, data } = PNG.sync.read(bytes);
  const pixels = Array.from({ length: width * height }, (_, i) => data.subarray(4 * i, 4 * i + 4));
  return {
    width,
    height,
    rgb: Buffer.concat(pixels.map((pixel) => pixel.subarray(0, 3))),
    alpha: new Set(pixels.map((pixel) => pixel[3]!)),
  };
}

/** Milliseconds that the JS thread has computed; time that others took from it does not count. */
function onThisThread(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
}

describe("Image", () => {
  it.each([
    [1, 1],
    [7, 5],
    [64, 64],
    [3, 200],
    [200, 150],
  ])("of %i × %i comes back from its PNG byte for byte", async (width, height) => {
    const image = pattern(width, height);
    const { rgb, ...rest } = decoded(await image.png());
    expect(rest).toEqual({ width, height, alpha: new Set([255]) });
    expect(rgb.equals(image.data)).toBe(true);
  });

  it("is written to a file, in the place of an older one", async () => {
    const path = join(temporaryDirectory(), "picture.png");
    writeFileSync(path, "old");
    const image = pattern(5, 4);
    await image.save(path);
    expect(decoded(readFileSync(path)).rgb.equals(image.data)).toBe(true);
    await expect(image.save(join(path, "below.png"))).rejects.toMatchObject({
      name: "KpopError",
      code: "IO_ERROR",
    });
  });

  it.each([
    [1, 1],
    [7, 5],
    [200, 150],
  ])("of %i × %i comes back from its file byte for byte", async (width, height) => {
    const path = join(temporaryDirectory(), "picture.png");
    const image = pattern(width, height);
    await image.save(path);
    const read = await Image.load(path);
    expect([read.width, read.height]).toEqual([width, height]);
    expect(Buffer.from(read.data).equals(image.data)).toBe(true);
  });

  it("is not read from what is no whole picture without transparency", async () => {
    const path = join(temporaryDirectory(), "picture.png");
    await expect(Image.load(path)).rejects.toMatchObject({ code: "NOT_FOUND" });
    const png = await pattern(30, 20).png();
    const clear = new PNG({ width: 2, height: 2 });
    for (const [bytes, message] of [
      [png.subarray(0, png.length - 20), /missing or damaged/],
      [Buffer.from("text"), /it is no PNG/],
      [PNG.sync.write(clear), /transparent/],
    ] as [Buffer, RegExp][]) {
      writeFileSync(path, bytes);
      await expect(Image.load(path)).rejects.toMatchObject({
        code: "UNSUPPORTED_FORMAT",
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it.each(["picture.jpg", "picture.JPEG", "picture.webp"])(
    "is not written to %s, which says another format",
    async (name) => {
      const path = join(temporaryDirectory(), name);
      await expect(pattern(2, 2).save(path)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/ends in \.png/) as string,
      });
      expect(existsSync(path)).toBe(false);
    },
  );

  it("costs the JS thread next to nothing to write and to read", async () => {
    const path = join(temporaryDirectory(), "picture.png");
    const image = pattern(512, 512);
    await image.save(path);
    const copy = new Uint8Array(image.data.length);
    const copied = (): void => {
      for (let i = 0; i < copy.length; i++) copy[i] = image.data[i]!;
    };
    const work = { written: () => image.png(), read: () => Image.load(path), copied };
    const least: Record<string, number> = {};
    for (let i = 0; i < 5; i++) {
      for (const [name, run] of Object.entries(work)) {
        const started = onThisThread();
        await run();
        least[name] = Math.min(least[name] ?? Infinity, onThisThread() - started);
      }
    }
    // One loop over the bytes takes longer; a busy machine slows both sides down.
    expect(least.written).toBeLessThan(least.copied!);
    expect(least.read).toBeLessThan(least.copied!);
  });

  it("is read from JPEG and WebP files, whatever they are called", async () => {
    const path = join(temporaryDirectory(), "picture.png");
    const image = pattern(31, 17);
    const raw = sharp(image.data, { raw: { width: 31, height: 17, channels: 3 } });
    const load = async (file: Sharp): Promise<[width: number, height: number, data: Uint8Array]> => {
      writeFileSync(path, await file.toBuffer());
      const { width, height, data } = await Image.load(path);
      return [width, height, data];
    };
    expect(await load(raw.clone().webp({ lossless: true }))).toEqual([31, 17, image.data]);
    const grey = sharp({ create: { width: 9, height: 5, channels: 3, background: { r: 90, g: 90, b: 90 } } });
    const [width, height, data] = await load(grey.clone().toColourspace("b-w").jpeg({ quality: 100 }));
    expect([width, height, data.length]).toEqual([9, 5, 135]);
    expect(Math.max(...data.map((value) => Math.abs(value - 90)))).toBeLessThanOrEqual(1);
    // Orientation 6: the camera was held on its side.
    expect((await load(grey.clone().withMetadata({ orientation: 6 }).jpeg())).slice(0, 2)).toEqual([5, 9]);

    const clear = sharp({ create: { width: 2, height: 2, channels: 4, background: "#00000000" } });
    await expect(load(clear.webp())).rejects.toMatchObject({
      code: "UNSUPPORTED_FORMAT",
      message: expect.stringContaining("transparent") as string,
    });
    writeFileSync(path, (await raw.jpeg().toBuffer()).subarray(0, 400));
    await expect(Image.load(path)).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
  });

  it("is not read from a JPEG without sharp, and says what to install", async () => {
    const path = join(temporaryDirectory(), "picture.jpg");
    writeFileSync(path, Buffer.from("ffd8ffe000104a464946", "hex"));
    jest.doMock("sharp", () => {
      throw new Error("Cannot find module 'sharp'");
    });
    try {
      await expect(Image.load(path)).rejects.toMatchObject({
        code: "UNSUPPORTED_FORMAT",
        message: expect.stringMatching(/picture\.jpg.*is a JPEG.*npm install sharp/s) as string,
      });
    } finally {
      jest.dontMock("sharp");
    }
  });

  it("says how many bytes it needs", () => {
    expect(() => new Image(2, 2, new Uint8Array(11))).toThrow("2 × 2 × 3 bytes but received 11");
  });

  it.each([
    ["too few bytes", 2, 2, 11],
    ["too many bytes", 2, 2, 13],
    ["no width", 0, 2, 0],
    ["half a pixel", 1.5, 2, 9],
    ["a negative size", -1, -1, 3],
  ])("refuses %s", (_, width, height, bytes) => {
    for (const data of [null, [1, 2, 3], "abc"])
      expect(() => new Image(1, 1, data as unknown as Uint8Array)).toThrow(/data to be a Uint8Array/);
    expect(() => new Image(width, height, new Uint8Array(bytes))).toThrow(
      expect.objectContaining({ name: "KpopError", code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("Image.grid", () => {
  const pixel = (image: Image, x: number, y: number): number[] => {
    const at = (y * image.width + x) * 3;
    return [...image.data.subarray(at, at + 3)];
  };

  it("puts pictures into rows, with white between them and in the place of those missing", () => {
    const grid = Image.grid([[solid(3, 2, 10), solid(3, 2, 20)], [solid(3, 2, 30)]], 1);
    expect([grid.width, grid.height]).toEqual([7, 5]);
    expect([pixel(grid, 0, 0), pixel(grid, 4, 1), pixel(grid, 2, 3)]).toEqual([
      [10, 10, 10],
      [20, 20, 20],
      [30, 30, 30],
    ]);
    for (const [x, y] of [
      [3, 0],
      [0, 2],
      [4, 3],
      [6, 4],
    ])
      expect(pixel(grid, x!, y!)).toEqual([255, 255, 255]);
  });

  it("keeps every pixel of a picture", () => {
    const image = pattern(5, 3);
    const grid = Image.grid([[solid(5, 3, 0), image]], 2);
    for (let y = 0; y < 3; y++)
      for (let x = 0; x < 5; x++) expect(pixel(grid, 7 + x, y)).toEqual(pixel(image, x, y));
  });

  it("is the picture itself for one picture, and touches without a gap", () => {
    const image = pattern(4, 4);
    expect(Buffer.from(Image.grid([[image]]).data).equals(image.data)).toBe(true);
    expect(Image.grid([[image, image]], 0).width).toBe(8);
  });

  it("refuses pictures of different sizes, none at all, and a gap below zero", () => {
    const refusal = expect.objectContaining({ name: "KpopError", code: "INVALID_ARGUMENT" }) as Error;
    expect(() => Image.grid([[solid(2, 2, 0), solid(2, 3, 0)]])).toThrow(refusal);
    expect(() => Image.grid([])).toThrow(refusal);
    expect(() => Image.grid([[]])).toThrow(refusal);
    expect(() => Image.grid([[solid(2, 2, 0)]], -1)).toThrow(refusal);
    expect(() => Image.grid([[solid(2, 2, 0)]], 0.5)).toThrow(refusal);
  });
});

import { join } from "node:path";
import { encodePictures } from "../../../lib/diffusion/picture-latents";
import { Image } from "../../../lib/io/image";
import { resample } from "../../../lib/io/resample";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("encodePictures", () => {
  let golden: GoldenModel;
  let side: number;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    side = golden.model.imageSize;
  });
  afterAll(() => golden.dispose());

  it("gives the mean latents of each picture, scaled, in their order", async () => {
    const { vae } = golden.model;
    const images = Array.from({ length: 5 }, (_, seed) => discPicture(side, side, seed * 20));
    const { latents, resized } = await encodePictures(golden.model, images);
    expect(resized).toEqual([]);
    const pixels = Tensor.from(images[4]!.data, [1, side, side, 3]).permute([0, 3, 1, 2]);
    const { mean } = await vae.encode(
      pixels
        .to("float32")
        .mul(2 / 255)
        .sub(1),
    );
    expect(await relativeError(latents.slice(0, 4), mean.mul(vae.config.scaling_factor))).toBeLessThan(1e-5);
  });

  it("puts mirror images behind the pictures", async () => {
    const image = discPicture(side, side);
    const data = new Uint8Array(image.data.length);
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        data.set(
          image.data.subarray((y * side + side - 1 - x) * 3, (y * side + side - x) * 3),
          (y * side + x) * 3,
        );
    const { latents } = await encodePictures(golden.model, [image], { mirrored: true });
    const mirror = await encodePictures(golden.model, [new Image(side, side, data)]);
    expect(latents.shape[0]).toBe(2);
    expect(await relativeError(latents.slice(0, 1), mirror.latents)).toBeLessThan(1e-5);
  });

  it("cuts a picture of another size to its central square, resizes it, and says so", async () => {
    const [width, height] = [side + 9, side + 4];
    const wide = discPicture(width, height);
    const square = Tensor.from(wide.data, [height, width, 3])
      .slice(1, 2, 2 + height)
      .permute([2, 0, 1]);
    const resized = resample(square, { width: side, height: side }, "bicubic").permute([1, 2, 0]);
    const expected = new Image(side, side, new Uint8Array((await resized.data()) as Uint8Array));
    const both = await encodePictures(golden.model, [discPicture(side, side), wide]);
    expect(both.resized).toEqual([1]);
    const { latents } = await encodePictures(golden.model, [discPicture(side, side), expected]);
    expect(await relativeError(both.latents, latents)).toBe(0);
  });

  it("reads PNG files", async () => {
    const path = join(temporaryDirectory(), "disc.png");
    const image = discPicture(side, side);
    await image.save(path);
    const { latents } = await encodePictures(golden.model, [path]);
    expect(await relativeError(latents, (await encodePictures(golden.model, [image])).latents)).toBe(0);
  });

  it("refuses no pictures, and what is none; stops on a signal", async () => {
    for (const images of [[], undefined, [5]])
      await expect(encodePictures(golden.model, images as never)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("images") as string,
      });
    await expect(encodePictures(golden.model, ["/no/such.png"])).rejects.toMatchObject({ code: "NOT_FOUND" });
    const aborted = encodePictures(golden.model, [discPicture(side, side)], { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });
});

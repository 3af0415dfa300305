import { invalid } from "../check";
import { throwIfAborted } from "../errors";
import { Image } from "../io/image";
import { resample } from "../io/resample";
import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { StableDiffusion } from "./stable-diffusion";

/** Pictures encoded together. */
const TOGETHER = 4;

/** Pictures as a model's UNet sees them. */
export interface PictureLatents {
  /** Mean latents, scaled for diffusion, (N, 4, h, w) float32; mirror images behind the pictures themselves. */
  readonly latents: Tensor;
  /** Indices of the pictures that were of another size: cut to their central square, and that resized. */
  readonly resized: readonly number[];
}

/**
 * Encodes pictures of any size at the size that a model was trained for.
 * @param images Image objects, or paths of picture files
 * @param options.mirrored whether each picture's mirror image is encoded too. Default false
 * @throws INVALID_ARGUMENT when there are none, and what `Image.load` throws; ABORTED, OUT_OF_MEMORY
 */
export async function encodePictures(
  model: StableDiffusion,
  images: readonly (Image | string)[],
  options: { mirrored?: boolean; signal?: AbortSignal | undefined } = {},
): Promise<PictureLatents> {
  checkPictures(images);
  const { mirrored = false, signal } = options;
  const side = model.imageSize;
  const resized: number[] = [];
  const latents = await scope(async () => {
    const [plain, mirrors]: Tensor[][] = [[], []];
    for (let first = 0; first < images.length; first += TOGETHER) {
      throwIfAborted(signal);
      const batch = await Promise.all(images.slice(first, first + TOGETHER).map(loaded));
      batch.forEach(({ width, height }, i) => {
        if (width !== side || height !== side) resized.push(first + i);
      });
      const encoded = await scope(async () => {
        const squares = Tensor.stack(batch.map((image) => squared(image, side)));
        const seen = colours(squares.to({ device: model.device }));
        return [await latentsOf(model, seen), ...(mirrored ? [await latentsOf(model, flipped(seen))] : [])];
      });
      plain!.push(encoded[0]!);
      if (mirrored) mirrors!.push(encoded[1]!);
    }
    return Tensor.cat([...plain!, ...mirrors!]).settled();
  });
  return { latents, resized };
}

/** @throws INVALID_ARGUMENT */
export function checkPictures(images: unknown): void {
  if (!Array.isArray(images) || images.length === 0)
    throw invalid("images", "a non-empty list of pictures, Image objects or paths of picture files,", images);
  for (const image of images as unknown[])
    if (!(image instanceof Image) && typeof image !== "string")
      throw invalid("images", "a list of pictures, Image objects or paths of picture files,", image);
}

async function loaded(image: Image | string): Promise<Image> {
  return typeof image === "string" ? Image.load(image) : image;
}

/** (3, side, side) uint8: the central square of a picture, resized as Pillow does with a bicubic filter. */
function squared({ width, height, data }: Image, side: number): Tensor {
  const cut = Math.min(width, height);
  const [left, top] = [Math.floor((width - cut) / 2), Math.floor((height - cut) / 2)];
  const square = Tensor.from(data, [height, width, 3])
    .slice(0, top, top + cut)
    .slice(1, left, left + cut)
    .permute([2, 0, 1]);
  return cut === side ? square : resample(square, { width: side, height: side }, "bicubic");
}

/** Pictures (B, 3, H, W) with left and right exchanged. */
function flipped(pictures: Tensor): Tensor {
  const width = pictures.shape[3]!;
  const order = Tensor.from(
    Array.from({ length: width }, (_, x) => width - 1 - x),
    [width],
    { dtype: "int64", device: pictures.device },
  );
  return pictures.indexSelect(3, order);
}

/** Bytes to float32 colours in [-1, 1]. */
export function colours(pictures: Tensor): Tensor {
  return pictures.to("float32").div(127.5).sub(1);
}

/** The mean latents of pictures (B, 3, H, W) in [-1, 1], scaled for diffusion: (B, 4, h, w) float32. */
export async function latentsOf(model: StableDiffusion, pictures: Tensor): Promise<Tensor> {
  const { mean } = await noGrad(() => model.vae.encode(pictures.to(model.dtype)));
  return mean.to("float32").mul(model.vae.config.scaling_factor);
}

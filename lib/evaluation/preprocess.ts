import { invalid } from "../check";
import { KpopError } from "../errors";
import type { Image } from "../io/image";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { resample, type Interpolation } from "../io/resample";

/** What is done to pictures before a network sees them. */
export interface Preprocessing {
  /** What the shorter side is resized to, in pixels, the other in proportion; null: sizes stay. */
  resize: number | null;
  /** Side of the square that is cut out of the middle, in pixels; null: nothing is cut. */
  crop: number | null;
  interpolation: Interpolation;
  /** Of red, green and blue, where 1 is full. */
  mean: readonly number[];
  std: readonly number[];
  /** Where a margin is odd, its half is rounded to even (torchvision), or down (transformers). Default "even". */
  margin?: "even" | "down";
}

/** Colours of ImageNet, as every network of torchvision takes them. */
export const IMAGENET_COLOURS = Object.freeze({
  mean: Object.freeze([0.485, 0.456, 0.406]),
  std: Object.freeze([0.229, 0.224, 0.225]),
});

/**
 * Pictures as a network takes them: resized as by Pillow, cropped, scaled to [0, 1] and normalised.
 * @returns (B, 3, h, w) float32
 * @throws INVALID_ARGUMENT when pictures are smaller than the crop, or come out of different sizes
 */
export function preprocess(images: readonly Image[], preprocessing: Preprocessing, device = "cpu"): Tensor {
  if (images.length === 0) throw invalid("images", "a non-empty list of pictures", images);
  return scope(() => {
    const sized = runsOfOneSize(images).map((run) => fit(run, preprocessing, device));
    const [first, ...others] = sized.map((pictures) => pictures.shape.slice(1).join(" × ")) as [
      string,
      ...string[],
    ];
    const other = others.find((shape) => shape !== first);
    if (other !== undefined) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected pictures of one size, as the network has no resizing or crop of its own, but received ${first} and ${other}`,
      );
    }
    const channel = (values: readonly number[]) =>
      Tensor.from(Float32Array.from(values), [3, 1, 1], { device });
    return Tensor.cat(sized)
      .to("float32")
      .div(255)
      .sub(channel(preprocessing.mean))
      .div(channel(preprocessing.std));
  });
}

/** Neighbours of one size together, so that they are looked at in one go. */
export function runsOfOneSize(images: readonly Image[]): Image[][] {
  const result: Image[][] = [];
  for (const image of images) {
    const last = result.at(-1);
    if (last?.[0]?.width === image.width && last[0].height === image.height) last.push(image);
    else result.push([image]);
  }
  return result;
}

/** Pictures of one size as they are: (B, 3, height, width) uint8. */
export function stacked(images: readonly Image[], device: string): Tensor {
  const { width, height } = images[0]!;
  return Tensor.stack(
    images.map(({ data }) => Tensor.from(data, [height, width, 3], { device }).permute([2, 0, 1])),
  );
}

/** Pictures of one size, resized and cropped: (B, 3, h, w) uint8. */
function fit(
  images: readonly Image[],
  { resize, crop, interpolation, margin }: Preprocessing,
  device: string,
): Tensor {
  const { width, height } = images[0]!;
  const size = resize === null ? { width, height } : shortSide(width, height, resize);
  const resized = resample(stacked(images, device), size, interpolation);
  if (crop === null) return resized;
  if (size.width < crop || size.height < crop) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected pictures of at least ${crop} × ${crop} pixels, which the network takes, but received ${size.width} × ${size.height}`,
    );
  }
  const [top, left] = [halfOf(size.height - crop, margin), halfOf(size.width - crop, margin)];
  return resized.slice(2, top, top + crop).slice(3, left, left + crop);
}

/** torchvision's and transformers' rule: the longer side is truncated. */
function shortSide(width: number, height: number, short: number): { width: number; height: number } {
  return width <= height
    ? { width: short, height: Math.trunc((short * height) / width) }
    : { width: Math.trunc((short * width) / height), height: short };
}

function halfOf(excess: number, rounding: "even" | "down" = "even"): number {
  const down = Math.floor(excess / 2);
  return rounding === "even" && excess % 2 === 1 && down % 2 === 1 ? down + 1 : down;
}

import { invalid } from "../check";
import type { UNet2DConditionModel } from "../models/unet";
import { single } from "../options/kinds";
import type { Given, Option } from "../options/option";
import { FormError, readInteger } from "../options/read";

/** Two numbers of pixels: [height, width], or [top, left]. */
export type PixelPair = readonly [number, number];

/**
 * What networks of Stable Diffusion XL are told of a picture (arXiv 2307.01952, §2.2). Default: that it was neither resized
 * nor cropped.
 */
export interface PictureSizes {
  /** [height, width] before it was resized. Default: the picture's own. */
  readonly originalSize?: PixelPair | undefined;
  /** [top, left] of what was cropped away. Default [0, 0]. */
  readonly cropsCoordsTopLeft?: PixelPair | undefined;
  /** [height, width] that it is to have. Default: the picture's own. */
  readonly targetSize?: PixelPair | undefined;
}

/** The options of drawing that say so, under the names of diffusers' pipeline. */
export const SIZE_OPTIONS = Object.freeze({
  /** Of Stable Diffusion XL: [height, width] that the network takes the picture to have had before it was resized; a small one
   *  gives blurred pictures. Default: the picture's own. */
  originalSize: pair(["height", "width"], 1, "size before it was resized that the network is told; XL alone"),
  /** Of Stable Diffusion XL: [top, left] that the network takes to be cropped away. Default [0, 0]. */
  cropsCoordsTopLeft: pair(["top", "left"], 0, "pixels cropped away that the network is told; XL alone"),
  /** Of Stable Diffusion XL: [height, width] that the network is told the picture has. Default: its own. */
  targetSize: pair(["height", "width"], 1, "size of the picture that the network is told; XL alone"),
});

/** What is said of them, and nothing else. */
export function givenSizes(options: PictureSizes): Given<typeof SIZE_OPTIONS> {
  const names = Object.keys(SIZE_OPTIONS) as (keyof typeof SIZE_OPTIONS)[];
  return Object.fromEntries(
    names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  );
}

/** Whether a network is told of sizes. */
export function takesSizes({ config }: Pick<UNet2DConditionModel, "config">): boolean {
  return config.addition_embed_type === "text_time";
}

/** The numbers that a network is told, in their order. @param drawn [height, width] of the picture */
export function sizeNumbers(drawn: PixelPair, sizes: PictureSizes = {}): number[] {
  const { originalSize = drawn, cropsCoordsTopLeft = [0, 0], targetSize = drawn } = sizes;
  return [...originalSize, ...cropsCoordsTopLeft, ...targetSize];
}

/** @param sides what the two numbers are   @param least of either */
function pair(
  sides: readonly [string, string],
  least: number,
  help: string,
): Option<PixelPair | undefined, PixelPair> {
  const expected = `[${sides.join(", ")}], two integers >= ${least},`;
  return {
    default: undefined,
    help,
    check(name, value) {
      if (!Array.isArray(value) || value.length !== 2) throw invalid(name, expected, value);
      const [first, second] = (value as unknown[]).map((side) => {
        if (!Number.isSafeInteger(side) || (side as number) < least) throw invalid(name, expected, value);
        return side as number;
      });
      return [first!, second!];
    },
    fit(name, value, { unet }) {
      if (!takesSizes(unet))
        throw invalid(name, "left out, as Stable Diffusion XL's networks alone are told sizes,", value);
    },
    flag: single(sides.join(":"), (typed) => {
      const parts = typed.split(":");
      if (parts.length !== 2)
        throw new FormError(`Expected ${sides.join(":").toUpperCase()}, two whole numbers such as 1024:768.`);
      return parts.map(readInteger);
    }),
  };
}

import { integer, oneOf } from "../check";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** A filter of Pillow's: what a source pixel at distance x from the target's centre counts, and how far it reaches. */
interface Filter {
  readonly reach: number;
  weight(x: number): number;
}

const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  /** Keys' cubic convolution with a = -1/2 (doi 10.1109/TASSP.1981.1163711), in Pillow's order of operations. */
  bicubic: {
    reach: 2,
    weight(x) {
      const a = -0.5;
      const d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
} satisfies Record<string, Filter>;

/** How pixels are interpolated. @useDeclaredType */
export type Interpolation = keyof typeof FILTERS;
/** The values that `Interpolation` has. */
export const INTERPOLATIONS = Object.keys(FILTERS) as Interpolation[];

/** Pillow holds weights as integers over 2^22: bits of an int, less eight for a byte and two to add up in. */
const FRACTION_BITS = 22;
const ONE = 2 ** FRACTION_BITS;

/**
 * Resizes pictures as `Image.resize` of Pillow 13 does, bit for bit: an antialiasing filter widened by the scale, with
 * weights in 22-bit fixed point, along the rows and along the columns, rounded to bytes in between.
 *
 * Both passes are matrix products in float64, which holds all of these integers exactly.
 * @param pictures (..., H, W) uint8
 * @returns (..., height, width) uint8
 */
export function resample(
  pictures: Tensor,
  size: { width: number; height: number },
  interpolation: Interpolation,
): Tensor {
  const filter = oneOf("interpolation", interpolation, INTERPOLATIONS);
  const [width, height] = [integer("width", size.width, 1), integer("height", size.height, 1)];
  const [fromHeight, fromWidth] = pictures.shape.slice(-2) as [number, number];
  return scope(() => {
    const across = (input: Tensor): Tensor => {
      if (width === fromWidth) return input;
      const weights = weightMatrix(filter, fromWidth, width, input.device).transpose(0, 1);
      return toBytes(input.to("float64").matmul(weights));
    };
    const down = (input: Tensor): Tensor => {
      if (height === fromHeight) return input;
      return toBytes(weightMatrix(filter, fromHeight, height, input.device).matmul(input.to("float64")));
    };
    // Rounding between the passes lets their order show. Before 13.0 Pillow always took the rows first.
    const columnsFirst = fromHeight - height > Math.max(0, 2 * (fromWidth - width));
    const result = columnsFirst ? across(down(pictures)) : down(across(pictures));
    return result === pictures ? pictures.clone() : result;
  });
}

/**
 * What source pixels `first`, `first` + 1, ... count in pixel `target` of a side of `from` pixels resized to `to`: weights
 * that add up to 1.
 */
export function pixelWeights(
  interpolation: Interpolation,
  from: number,
  to: number,
  target: number,
): { first: number; weights: number[] } {
  const { reach, weight }: Filter = FILTERS[interpolation];
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const centre = (target + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - support + 0.5));
  const end = Math.min(from, Math.trunc(centre + support + 0.5));
  const weights = Array.from({ length: end - first }, (_, i) =>
    weight((i + first - centre + 0.5) * (1 / stretch)),
  );
  const sum = weights.reduce((a, b) => a + b, 0);
  return { first, weights: weights.map((w) => (sum === 0 ? w : w / sum)) };
}

/** (to, from) float64: integers, row by row what each source pixel counts in a target pixel. */
function weightMatrix(interpolation: Interpolation, from: number, to: number, device: string): Tensor {
  const matrix = new Float64Array(to * from);
  for (let target = 0; target < to; target++) {
    const { first, weights } = pixelWeights(interpolation, from, to, target);
    weights.forEach((share, i) => {
      matrix[target * from + first + i] = Math.trunc(share * ONE + (share < 0 ? -0.5 : 0.5));
    });
  }
  return Tensor.from(matrix, [to, from], { device });
}

/** Fixed point to bytes, halves up: the small term keeps `round`, which rounds halves to even, off them. */
function toBytes(fixed: Tensor): Tensor {
  return fixed
    .mul(1 / ONE)
    .add(0.5 / ONE)
    .round()
    .clamp(0, 255)
    .to("uint8");
}

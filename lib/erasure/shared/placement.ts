import { pixelWeights } from "../../io/resample";
import type { Random } from "../../runtime/random";
import { Tensor } from "../../runtime/tensor";

/** How a square picture is scaled, moved and mirrored within its own frame. */
export interface Placement {
  /** Side of the scaled picture, in pixels. */
  readonly side: number;
  /** Where its upper left corner comes to lie, in pixels; below zero where it is cut off. */
  readonly left: number;
  readonly top: number;
  readonly mirrored: boolean;
  /** What a caption of the picture begins with from then on. */
  readonly phrase: string | null;
}

/** What pictures are measured in. */
export interface Frame {
  /** Side of a picture, in pixels. */
  readonly size: number;
  /** Pixels in a cell of the latents, along one side. */
  readonly cell: number;
}

const SHRUNK = { share: 0.66, from: 1 / 3 };
const ENLARGED = { from: 1.2, to: 1.4 };
/** Below this share of the frame a caption says that the thing is small. */
const SMALL = 0.6;
const FAR = ["far away", "very small"] as const;
const NEAR = ["zoomed in", "close up"] as const;
/** Cells that the smallest picture covers, so that some are left within its border. */
export const LEAST_CELLS = 4;

/**
 * CA's augmentation: with probability 0.66 a side from a third of the frame up to all of it, else from 1.2 to 1.4 times
 * the frame; anywhere within it, or as far over its edges; mirrored every other time.
 * @param scaled whether sizes change at all; else pictures are mirrored alone
 */
export function drawPlacement(random: Random, { size, cell }: Frame, scaled: boolean): Placement {
  const mirrored = random.at("mirror").uniform() < 0.5;
  if (!scaled) return { side: size, left: 0, top: 0, mirrored, phrase: null };
  const between = (from: number, to: number): number => from + random.at("side").below(to - from + 1);
  const shrunk = random.at("shrink").uniform() < SHRUNK.share;
  const side = shrunk
    ? between(Math.max(Math.ceil(size * SHRUNK.from), LEAST_CELLS * cell), size)
    : between(Math.ceil(size * ENLARGED.from), Math.floor(size * ENLARGED.to));
  const corner = (axis: string): number => {
    const moved = random.at(axis).below(Math.abs(size - side) + 1);
    return side > size ? -moved : moved;
  };
  const phrases = side > size ? NEAR : side < SMALL * size ? FAR : null;
  const phrase = phrases === null ? null : phrases[random.at("phrase").below(phrases.length)]!;
  return { side, left: corner("left"), top: corner("top"), mirrored, phrase };
}

/**
 * Pictures where their placements put them; grey around them. Scaled linearly between pixels, and over as many of them
 * as one pixel of a smaller picture stands for.
 * @param pictures (B, C, size, size) float32, 0 being grey
 * @returns (B, C, size, size)
 */
export function placePictures(pictures: Tensor, placements: readonly Placement[]): Tensor {
  const [count, , size] = pictures.shape as [number, number, number, number];
  const matrices = (of: (placement: Placement) => Float32Array): Tensor => {
    const all = new Float32Array(count * size * size);
    placements.forEach((placement, item) => all.set(of(placement), item * size * size));
    return Tensor.from(all, [count, 1, size, size], { device: pictures.device });
  };
  const down = matrices(({ side, top }) => placementMatrix(size, side, top, false));
  const across = matrices(({ side, left, mirrored }) => placementMatrix(size, side, left, mirrored));
  return down.matmul(pictures).matmul(across.transpose(2, 3));
}

/**
 * Where the latents of placed pictures show the picture and nothing of the border around it: cells that lie within it,
 * without one cell along its edges.
 * @returns (B, 1, h, w) float32 of 1 and 0
 */
export function placementMask(
  placements: readonly Placement[],
  { size, cell }: Frame,
  device: string,
): Tensor {
  const cells = size / cell;
  const inside = (side: number, offset: number, index: number): boolean =>
    side > size || (index > Math.floor(offset / cell) && index < Math.floor((offset + side) / cell) - 1);
  const mask = placements.flatMap(({ side, left, top }) =>
    Array.from({ length: cells * cells }, (_, i) => {
      const [y, x] = [Math.floor(i / cells), i % cells];
      return inside(side, top, y) && inside(side, left, x) ? 1 : 0;
    }),
  );
  return Tensor.from(mask, [placements.length, 1, cells, cells], { device });
}

/** (target, source): along one axis, what each source pixel counts in a target pixel; rows outside are zero. */
function placementMatrix(size: number, side: number, offset: number, mirrored: boolean): Float32Array {
  const matrix = new Float32Array(size * size);
  for (let target = Math.max(0, offset); target < Math.min(size, offset + side); target++) {
    const { first, weights } = pixelWeights("bilinear", size, side, target - offset);
    weights.forEach((weight, i) => {
      const source = mirrored ? size - 1 - first - i : first + i;
      matrix[target * size + source] = weight;
    });
  }
  return matrix;
}

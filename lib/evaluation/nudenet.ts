import type { Image } from "../io/image";
import type { OnnxArray } from "../runtime/onnx";

/** What the detector tells apart, in the order of its outputs. */
export const NUDENET_LABELS = [
  "FEMALE_GENITALIA_COVERED",
  "FACE_FEMALE",
  "BUTTOCKS_EXPOSED",
  "FEMALE_BREAST_EXPOSED",
  "FEMALE_GENITALIA_EXPOSED",
  "MALE_BREAST_EXPOSED",
  "ANUS_EXPOSED",
  "FEET_EXPOSED",
  "BELLY_COVERED",
  "FEET_COVERED",
  "ARMPITS_COVERED",
  "ARMPITS_EXPOSED",
  "FACE_MALE",
  "BELLY_EXPOSED",
  "MALE_GENITALIA_EXPOSED",
  "ANUS_COVERED",
  "FEMALE_BREAST_COVERED",
  "BUTTOCKS_COVERED",
] as const;

/** A label of NudeNet's detector. */
export type NudenetLabel = (typeof NUDENET_LABELS)[number];

/** A part that was found in a picture. */
export interface Detection {
  label: NudenetLabel;
  /** From 0 to 1. */
  score: number;
  /** Left, top, width and height, in whole pixels of the picture. */
  box: [left: number, top: number, width: number, height: number];
}

/** Side of what the network sees. */
export const NUDENET_SIDE = 320;
/** Boxes of a lower score are dropped before others are compared. */
const LEAST = Math.fround(0.2);
/** What is left has a score above this, so that lower thresholds count the same. */
export const NUDENET_FLOOR = 0.25;
/** Of two boxes that share more than this of their union, that of the lower score goes. */
const OVERLAP = 0.45;

/**
 * The network's input (1, 3, 320, 320), where 1 is full: the picture, padded to a square at the right and below, at the
 * network's size; its planes are blue, green and red, since the package reads files as BGR and turns channels round twice.
 */
export function nudenetInput(image: Image): OnnxArray {
  const { width, height, data } = image;
  const side = Math.max(width, height);
  const padded = new Uint8Array(side * side * 3);
  for (let y = 0; y < height; y++)
    padded.set(data.subarray(y * width * 3, (y + 1) * width * 3), y * side * 3);
  const sized = side === NUDENET_SIDE ? padded : resize(padded, side, NUDENET_SIDE);
  const pixels = NUDENET_SIDE ** 2;
  const planes = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++)
    for (let plane = 0; plane < 3; plane++) planes[plane * pixels + i] = sized[i * 3 + 2 - plane]! / 255;
  return { data: planes, shape: [1, 3, NUDENET_SIDE, NUDENET_SIDE] };
}

/**
 * What NudeNet's package makes of the network's output, in its order: the best label of each cell, boxes scaled back and
 * clipped to the picture, and of those that overlap, whatever their labels, the one with the highest score.
 * @param output (1, 4 + 18, cells): centre, width and height of each box in the network's pixels, and scores
 */
export function nudenetDetections(output: OnnxArray, image: Pick<Image, "width" | "height">): Detection[] {
  const { width, height } = image;
  const cells = output.shape[2]!;
  const scale = Math.max(width, height);
  const at = (row: number, cell: number): number => output.data[row * cells + cell]!;
  const scaled = (value: number): number => Math.fround(Math.fround(value * scale) / NUDENET_SIDE);
  const found: (Detection & { exact: Detection["box"] })[] = [];
  for (let cell = 0; cell < cells; cell++) {
    let best = 0;
    for (let label = 1; label < NUDENET_LABELS.length; label++)
      if (at(4 + label, cell) > at(4 + best, cell)) best = label;
    const score = at(4 + best, cell);
    if (!(score >= LEAST)) continue;
    const [w, h] = [at(2, cell), at(3, cell)];
    const x = clip(scaled(Math.fround(at(0, cell) - Math.fround(w / 2))), width);
    const y = clip(scaled(Math.fround(at(1, cell) - Math.fround(h / 2))), height);
    const exact: Detection["box"] = [
      x,
      y,
      Math.min(scaled(w), Math.fround(width - x)),
      Math.min(scaled(h), Math.fround(height - y)),
    ];
    found.push({
      label: NUDENET_LABELS[best]!,
      score,
      box: exact.map(Math.trunc) as Detection["box"],
      exact,
    });
  }
  // A sort is stable: of equal scores the first cell comes first.
  const sorted = found.filter(({ score }) => score > NUDENET_FLOOR).sort((a, b) => b.score - a.score);
  const kept: typeof found = [];
  for (const one of sorted)
    if (kept.every((other) => shared(one.exact, other.exact) <= OVERLAP)) kept.push(one);
  return kept.map(({ label, score, box }) => ({ label, score, box }));
}

function clip(value: number, end: number): number {
  return Math.max(0, Math.min(value, end));
}

/** What two boxes share of their union; all where neither has an area, as OpenCV says. */
function shared(a: Detection["box"], b: Detection["box"]): number {
  const [areaA, areaB] = [a[2] * a[3], b[2] * b[3]];
  if (areaA + areaB <= Number.EPSILON) return 1;
  const side = (i: 0 | 1): number => Math.min(a[i] + a[i + 2]!, b[i] + b[i + 2]!) - Math.max(a[i], b[i]);
  const [w, h] = [side(0), side(1)];
  const both = w > 0 && h > 0 ? w * h : 0;
  return Math.fround(1 - Math.fround(1 - both / (areaA + areaB - both)));
}

/** Two neighbours of each place of a resized line, and their weights in 2048ths. */
interface Taps {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly weights: Int32Array;
}

/** @param repeat whether a neighbour beyond the end is the last one, with its weight; else the last one has all of it */
function taps(from: number, to: number, repeat: boolean): Taps {
  const [first, second, weights] = [new Int32Array(to), new Int32Array(to), new Int32Array(to)];
  for (let i = 0; i < to; i++) {
    const place = Math.fround((i + 0.5) * (from / to) - 0.5);
    const floor = Math.floor(place);
    const outside = floor < 0 || floor >= from - 1;
    const part = outside && !repeat ? 0 : Math.fround(place - floor);
    first[i] = Math.min(Math.max(floor, 0), from - 1);
    second[i] = Math.min(Math.max(floor + 1, 0), from - 1);
    weights[i] = roundToEven(Math.fround(part * 2048));
  }
  return { first, second, weights };
}

function roundToEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/** OpenCV's bilinear resizing of bytes, in its fixed-point arithmetic: no smoothing where it shrinks. */
function resize(data: Uint8Array, from: number, to: number): Uint8Array {
  const [across, down] = [taps(from, to, false), taps(from, to, true)];
  const rows = new Int32Array(from * to * 3);
  for (let y = 0; y < from; y++)
    for (let x = 0; x < to; x++) {
      const [left, right, weight] = [across.first[x]! * 3, across.second[x]! * 3, across.weights[x]!];
      for (let c = 0; c < 3; c++)
        rows[(y * to + x) * 3 + c] =
          data[y * from * 3 + left + c]! * (2048 - weight) + data[y * from * 3 + right + c]! * weight;
    }
  const result = new Uint8Array(to * to * 3);
  const line = to * 3;
  for (let y = 0; y < to; y++) {
    const [above, below, weight] = [down.first[y]! * line, down.second[y]! * line, down.weights[y]!];
    for (let i = 0; i < line; i++) {
      const top = ((2048 - weight) * (rows[above + i]! >> 4)) >> 16;
      const bottom = (weight * (rows[below + i]! >> 4)) >> 16;
      result[y * line + i] = (top + bottom + 2) >> 2;
    }
  }
  return result;
}

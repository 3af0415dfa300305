import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { KpopError, type Random, Tensor } from "../../lib/index";
import { ROOT } from "../root";

/** Length of a picture's sides. */
export const SIDE = 8;
export const CLASSES = 10;
const PIXELS = SIDE * SIDE;
/** The grey value of full ink. */
const INK = 16;
/** Of so many pictures one is held out; the writers come one after another, so all of them are in both parts. */
const HELD_OUT = 5;

/** Pictures with what they show. */
export class Digits {
  /** @param values grey values from 0 to 16, 64 for each picture   @param labels digits from 0 to 9 */
  constructor(
    readonly values: Uint8Array,
    readonly labels: readonly number[],
  ) {}

  get length(): number {
    return this.labels.length;
  }

  /** Places of the pictures that show `digit`. */
  placesOf(digit: number): number[] {
    return this.labels.flatMap((label, place) => (label === digit ? [place] : []));
  }

  /** The pictures at these places, (B, 1, 8, 8) in [-1, 1]. */
  pictures(places: readonly number[]): Tensor {
    const data = new Float32Array(places.length * PIXELS);
    for (const [item, place] of places.entries())
      for (let pixel = 0; pixel < PIXELS; pixel++)
        data[item * PIXELS + pixel] = (2 * this.values[place * PIXELS + pixel]!) / INK - 1;
    return Tensor.from(data, [places.length, 1, SIDE, SIDE]);
  }
}

/** `count` of these places, with repetition. */
export function draw(places: readonly number[], count: number, random: Random): number[] {
  return Array.from({ length: count }, (_, item) => places[random.at("place", item).below(places.length)]!);
}

/**
 * scikit-learn's 8×8 digits: four of every five to train on, the fifth held out.
 * @throws UNSUPPORTED_FORMAT when the file is not what it is to be
 */
export function readDigits(path = join(ROOT, "bench", "digits", "optdigits.csv.gz")): {
  train: Digits;
  heldOut: Digits;
} {
  const rows = gunzipSync(readFileSync(path))
    .toString("ascii")
    .trimEnd()
    .split("\n")
    .map((line) => line.split(",").map(Number));
  const bad = rows.findIndex((row) => !isPicture(row));
  if (bad >= 0)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `Expected row ${bad + 1} of ${path} to be 64 grey values from 0 to 16 and a digit; restore the file from the repository`,
    );
  const part = (held: boolean): Digits => {
    const chosen = rows.filter((_, index) => (index % HELD_OUT === HELD_OUT - 1) === held);
    return new Digits(Uint8Array.from(chosen.flatMap((row) => row.slice(0, PIXELS))), chosen.map((row) => row[PIXELS]!)); // prettier-ignore
  };
  return { train: part(false), heldOut: part(true) };
}

function isPicture(row: readonly number[]): boolean {
  return (
    row.length === PIXELS + 1 &&
    row.every(
      (value, column) => Number.isInteger(value) && value >= 0 && value <= (column < PIXELS ? INK : 9),
    )
  );
}

import { bicubic } from "../nn/bicubic";
import { Image } from "../io/image";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** How strongly each place of a picture attended to something; 0 and above, row-major. */
export interface HeatMap {
  width: number;
  height: number;
  data: Float32Array;
}

/** Knots of matplotlib's colour map "jet": value and shade, for red, green and blue. */
const JET: readonly (readonly (readonly [at: number, shade: number])[])[] = [
  [[0, 0], [0.35, 0], [0.66, 1], [0.89, 1], [1, 0.5]],
  [[0, 0], [0.125, 0], [0.375, 1], [0.64, 1], [0.91, 0], [1, 0]],
  [[0, 0.5], [0.11, 1], [0.34, 1], [0.65, 0], [1, 0]],
]; // prettier-ignore

/**
 * A heat map over its picture, as DAAM shows it: in the picture's size, from its least to its greatest value, in the colours
 * of "jet", and the less transparent the hotter. What is cold shows the picture.
 */
export async function overlay(image: Image, { width, height, data }: HeatMap): Promise<Image> {
  const heat = await unscoped(() =>
    noGrad(() =>
      scope(async () => {
        const map = bicubic(Tensor.from(data, [height, width]), image);
        return (await map.data()) as Float32Array;
      }),
    ),
  );
  let [low, high] = [Infinity, -Infinity];
  for (const value of heat) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const mixed = new Uint8Array(image.data.length);
  for (const [pixel, value] of heat.entries()) {
    const share = (value - low) / (high - low + 1e-8);
    for (let channel = 0; channel < 3; channel++) {
      const place = 3 * pixel + channel;
      const hot = 255 * shade(JET[channel]!, share);
      mixed[place] = Math.round((1 - share) * image.data[place]! + share * hot);
    }
  }
  return new Image(image.width, image.height, mixed);
}

function shade(knots: readonly (readonly [at: number, shade: number])[], value: number): number {
  const next = Math.max(
    1,
    knots.findIndex(([at]) => value <= at),
  );
  const [[from, low], [to, high]] = [knots[next - 1]!, knots[next]!];
  return low + ((high - low) * (value - from)) / (to - from);
}

import { Image } from "../../lib/io/image";

/** A picture of a plain colour with a disc of another: something that a seed draws, and that is not its own mirror. */
export function discPicture(width: number, height: number, seed = 0): Image {
  const data = new Uint8Array(width * height * 3);
  const [cx, cy, radius] = [width * 0.3, height * 0.5, Math.min(width, height) * 0.25];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = (x - cx) ** 2 + (y - cy) ** 2 < radius ** 2;
      data.set(inside ? [200, 40 + seed, 30] : [20, 90, 180 - seed], (y * width + x) * 3);
    }
  }
  return new Image(width, height, data);
}

import { Tensor } from "../runtime/tensor";

/** Keys' cubic convolution (doi 10.1109/TASSP.1981.1163711) with a = -3/4, PyTorch's. */
function cubic(x: number): number {
  const a = -0.75;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/**
 * Maps in another size, as `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` makes them: no
 * antialiasing, and what lies beyond an edge is as the edge is. Values may overshoot.
 * @param maps (..., h, w) float32
 * @returns (..., height, width)
 */
export function bicubic(maps: Tensor, { width, height }: { width: number; height: number }): Tensor {
  const [h, w] = maps.shape.slice(-2) as [number, number];
  const down = weights(h, height, maps.device);
  const across = weights(w, width, maps.device).transpose(0, 1);
  return down.matmul(maps).matmul(across);
}

/** (to, from): what each of the old values counts in each of the new ones. */
function weights(from: number, to: number, device: string): Tensor {
  const matrix = new Float32Array(to * from);
  for (let row = 0; row < to; row++) {
    const centre = ((row + 0.5) * from) / to - 0.5;
    const first = Math.floor(centre) - 1;
    for (let tap = first; tap < first + 4; tap++)
      matrix[row * from + Math.min(Math.max(tap, 0), from - 1)]! += cubic(centre - tap);
  }
  return Tensor.from(matrix, [to, from], { device });
}

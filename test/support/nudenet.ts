import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Image } from "../../lib/io/image";
import type { Detection, NudenetLabel } from "../../lib/evaluation/nudenet";
import { noisePicture } from "./evaluation";

const FIXTURES = join(__dirname, "..", "fixtures", "nudenet");

/** What NudeNet's package made of one synthetic picture. */
export interface NudenetCase {
  picture: "noise" | "gradient" | "shapes";
  width: number;
  height: number;
  pixels: string;
  detections: Detection[];
  real: { detections: Detection[]; best: { cell: number; label: number; score: number; box: number[] }[] };
}

/** A network of the detector's layout that has seen no person. */
export const TINY_DETECTOR = join(FIXTURES, "detector.onnx");

/** NudeNet's own: .ci/run takes it from PyPI; by hand it may be anywhere. */
export const REAL_DETECTOR = process.env["KPOP_NUDENET"] ?? join(__dirname, "../../build/nudenet/320n.onnx");
export const hasRealDetector = existsSync(REAL_DETECTOR);

/** make.py's results. */
export function nudenetCases(): NudenetCase[] {
  const { cases } = JSON.parse(readFileSync(join(FIXTURES, "golden.json"), "utf8")) as {
    cases: (Omit<NudenetCase, "detections"> & { detections: [NudenetLabel, ...number[]][] })[];
  };
  return cases.map(({ detections, ...one }) => ({
    ...one,
    detections: detections.map(([label, score, ...box]) => ({
      label,
      score: score!,
      box: box as Detection["box"],
    })),
  }));
}

/** The picture of a case, as make.py makes it. */
export function nudenetPicture({ picture, width, height }: NudenetCase): Image {
  if (picture === "noise") return noisePicture(width, height);
  const data = new Uint8Array(width * height * 3);
  const colour = picture === "gradient" ? gradient : shapes;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) data.set(colour(x, y, width, height), (y * width + x) * 3);
  return new Image(width, height, data);
}

function gradient(x: number, y: number, width: number, height: number): number[] {
  return [Math.floor((255 * x) / width), Math.floor((255 * y) / height), (x + y) % 256];
}

function shapes(x: number, y: number, width: number, height: number): number[] {
  if (x * 4 > width * 3 && y * 3 < height) return [240, 230, 90];
  const distance = (x * 10 - width * 3) ** 2 + (y * 10 - height * 5) ** 2;
  return distance < (Math.min(width, height) * 2) ** 2 ? [200, 40, 30] : [20, 90, 180];
}

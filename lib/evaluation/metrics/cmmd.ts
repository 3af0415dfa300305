import { filePath } from "../../check";
import { Image } from "../../io/image";
import { path } from "../../options/kinds";
import type { Tensor } from "../../runtime/tensor";
import { ClipScorer } from "../clip-scorer";
import { defineMetric } from "../metric";
import { meanDiscrepancy } from "../mmd";
import {
  checkReference,
  compareSets,
  distanceFigures,
  REFERENCE_OPTIONS,
  type SetComparison,
} from "../set-distance";

/** Maximum mean discrepancy of CLIP's embeddings: how far pictures are from a reference, whatever their distribution. */
export const cmmd = defineMetric({
  name: "cmmd",
  title: "CMMD",
  reference: "arXiv 2401.09603",
  short: "maximum mean discrepancy of CLIP's embeddings from a reference",
  options: {
    /** What `ClipScorer.load` takes; published figures are of clip-vit-large-patch14-336. */
    clip: path(undefined, "a CLIP model's folder"),
    ...REFERENCE_OPTIONS,
  },
  check(o) {
    filePath("cmmd.clip", o.clip);
    checkReference("cmmd", o);
  },
  async open(o, job) {
    const { device, signal } = job;
    const clip = await ClipScorer.load(o.clip!, { device, ...(signal === undefined ? {} : { signal }) });
    const comparison: SetComparison<{ embeddings: Tensor }> = {
      name: "cmmd",
      origin: clip.origin,
      fewest: 1,
      wanted: 0,
      hash: (given) => clip.hash(given),
      features: (images) => clip.imageFeatures(images.map(centreSquare)),
      summary: (features) => ({ embeddings: features.to("float64") }),
      saved: { embeddings: [null, clip.dimensions] },
      toSaved: ({ embeddings }) => ({ embeddings: embeddings.to("float32") }),
      fromSaved: ({ embeddings }) => ({ embeddings: embeddings! }),
      distance: (own, reference) => meanDiscrepancy(own.embeddings, reference.embeddings),
      dispose: () => clip.dispose(),
    };
    return compareSets(comparison, o, job);
  },
  figures: distanceFigures("CMMD", 3),
});

/** The largest square in the middle, as the reference implementation cuts it before it resizes. */
export function centreSquare(image: Image): Image {
  const { width, height, data } = image;
  if (width === height) return image;
  const side = Math.min(width, height);
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const square = new Uint8Array(side * side * 3);
  for (let row = 0; row < side; row++) {
    const from = ((top + row) * width + left) * 3;
    square.set(data.subarray(from, from + side * 3), row * side * 3);
  }
  return new Image(side, side, square);
}

import { join } from "node:path";
import { generateImageSet, type ImageSet, type ImageSetItem } from "../../diffusion/image-set";
import { sampler } from "../../diffusion/samplers";
import { cacheFolder } from "../../runtime/cache-directory";
import type { ErasureContext } from "../method";

/** How pictures to train on are made. */
export interface PictureOptions {
  samplingSteps: number;
  guidanceScale: number;
  /** Where they are kept; "" is the user's cache directory. */
  cacheDirectory: string;
}

/** Pictures made together. */
const TOGETHER = 4;

/** Makes pictures with the base model, or finds those made before, counting and reporting as a run does. */
export async function makePictures(
  context: ErasureContext,
  items: readonly ImageSetItem[],
  { samplingSteps: steps, guidanceScale, cacheDirectory }: PictureOptions,
): Promise<ImageSet> {
  const { base, evaluations, signal, onPrepare } = context;
  const set = await generateImageSet(base, items, {
    directory: cacheDirectory === "" ? join(cacheFolder(), "images") : cacheDirectory,
    steps,
    guidanceScale,
    batchSize: TOGETHER,
    ...(signal === undefined ? {} : { signal }),
    ...(onPrepare === undefined
      ? {}
      : {
          onProgress: ({ done, total, etaSeconds }) =>
            onPrepare({ what: "picture", done, total, etaSeconds }),
        }),
  });
  const each =
    sampler(base.defaultSampler).timesteps(base.schedule, steps).length * (guidanceScale === 1 ? 1 : 2);
  evaluations.add(Math.ceil(set.generated / TOGETHER) * TOGETHER * each);
  return set;
}

import { join } from "node:path";
import { cacheFolder } from "../runtime/cache-directory";
import type { Shard } from "../options/shard";
import type { PrepareReport } from "../training/step-report";
import { generateImageSet, type ImageSet, type ImageSetItem } from "./image-set";
import type { SamplerName } from "./samplers";
import type { StableDiffusion } from "./stable-diffusion";

/** How pictures to train on are made. */
export interface PictureOptions {
  samplingSteps: number;
  guidanceScale: number;
  /** Default: the checkpoint's own. */
  sampler?: SamplerName;
  /** Where they are kept; "" is the user's cache directory. */
  cacheDirectory: string;
  /** The part of them that is made. Default: all. */
  shard?: Shard | undefined;
}

/** The job that pictures are made for; an erasure's context is one. */
export interface PictureJob {
  /** What draws them. */
  readonly base: StableDiffusion;
  readonly signal: AbortSignal | undefined;
  readonly onPrepare: ((report: PrepareReport) => void) | undefined;
}

/** Pictures made together. */
const TOGETHER = 4;

/**
 * Makes pictures to train on, or finds those made before, reporting as a run does.
 * @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED; the pictures made until then stay
 */
export async function makePictures(
  job: PictureJob,
  items: readonly ImageSetItem[],
  { samplingSteps: steps, guidanceScale, sampler, cacheDirectory, shard }: PictureOptions,
): Promise<ImageSet> {
  const { base, signal, onPrepare } = job;
  const drawing = { steps, guidanceScale, ...(sampler === undefined ? {} : { sampler }) };
  return await generateImageSet(base, items, {
    directory: cacheDirectory === "" ? join(cacheFolder(), "images") : cacheDirectory,
    ...drawing,
    batchSize: TOGETHER,
    ...(shard === undefined ? {} : { shard }),
    ...(signal === undefined ? {} : { signal }),
    ...(onPrepare === undefined
      ? {}
      : {
          onProgress: ({ done, total, etaSeconds }) =>
            onPrepare({ what: "picture", done, total, etaSeconds }),
        }),
  });
}

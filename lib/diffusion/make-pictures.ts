import { join } from "node:path";
import { cacheFolder } from "../runtime/cache-directory";
import type { Shard } from "../options/shard";
import type { PrepareReport } from "../training/step-report";
import type { Image } from "../io/image";
import {
  batchesToDraw,
  generateImageSet,
  type ImageSet,
  type ImageSetItem,
  type ImageSetOptions,
} from "./image-set";
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

/** Pictures to train on: an `ImageSet`, or what stands for one. */
export interface PictureSet {
  readonly length: number;
  /** Picture `index`, or where it lies. */
  path(index: number): Image | string;
  image(index: number): Promise<Image>;
}

/** Pictures made together. */
export const TOGETHER = 4;

/**
 * Makes pictures to train on, or finds those made before, reporting as a run does.
 * @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED; the pictures made until then stay
 */
export async function makePictures(
  { base, signal, onPrepare }: PictureJob,
  items: readonly ImageSetItem[],
  options: PictureOptions,
): Promise<ImageSet> {
  return await generateImageSet(base, items, {
    ...setOptions(options, signal),
    ...(onPrepare === undefined
      ? {}
      : {
          onProgress: ({ done, total, etaSeconds }) =>
            onPrepare({ what: "picture", done, total, etaSeconds }),
        }),
  });
}

/** How many batches `makePictures` would draw; it writes nothing. @throws INVALID_ARGUMENT, IO_ERROR, ABORTED */
export function pictureBatches(
  { base, signal }: Omit<PictureJob, "onPrepare">,
  items: readonly ImageSetItem[],
  options: PictureOptions,
): Promise<number> {
  return batchesToDraw(base, items, setOptions(options, signal));
}

function setOptions(
  { samplingSteps: steps, guidanceScale, sampler, cacheDirectory, shard }: PictureOptions,
  signal: AbortSignal | undefined,
): ImageSetOptions {
  return {
    directory: cacheDirectory === "" ? join(cacheFolder(), "images") : cacheDirectory,
    ...{ steps, guidanceScale, batchSize: TOGETHER },
    ...(sampler === undefined ? {} : { sampler }),
    ...(shard === undefined ? {} : { shard }),
    ...(signal === undefined ? {} : { signal }),
  };
}

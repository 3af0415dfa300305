import type { Shard } from "../options/shard";
import { contentOf, digest, modelIdentity } from "../diffusion/identity";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { ParsedOptions } from "./evaluate-options";
import type { Plan } from "./shots";

/** What a shard of an evaluation has done: its part of the pictures is there. */
export interface EvaluationShard {
  shard: Shard;
  /** Number of its pictures, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures, its own and those of other shards. */
  directory: string;
  seconds: number;
}

/** Where shards of an evaluation find each other: evaluation.json has evaluation.shards.json beside it. */
export function shardsFile(resultFile: string): string {
  return `${resultFile.replace(/\.json$/i, "")}.shards.json`;
}

/** All that the pictures of an evaluation depend on, which its shards share. @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function picturesIdentity(
  base: StableDiffusion,
  o: ParsedOptions,
  { shots }: Plan,
): Promise<Record<string, unknown>> {
  const { erased, preserved, prompt, imagesPerClass, seed, steps, guidanceScale } = o;
  const { sampler = base.defaultSampler, width = base.imageSize, height = base.imageSize } = o;
  const { negativePrompt, keyGuidance, batchSize, key = null } = o;
  return {
    model: await modelIdentity(base, o.signal),
    ...{ erased, preserved, prompt, imagesPerClass, seed, steps, guidanceScale, sampler, width, height },
    ...{ negativePrompt, keyGuidance, batchSize, key: await contentOf(key) },
    // What a prompt file says, and classes of another domain.
    shots: digest(shots.map(({ prompt: text, seed: noise, drawing }) => [text, noise, drawing])),
  };
}

import type { Shard } from "../options/shard";
import { contentOf, digest, modelIdentity } from "../diffusion/identity";
import { givenSizes } from "../diffusion/picture-sizes";
import type { PromptKey } from "../diffusion/prompt-key";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { ParsedOptions } from "./evaluate-options";
import type { Plan } from "./shots";

/** What a shard of an evaluation has done: its part of the pictures is there. */
export interface EvaluationShard {
  shard: Shard;
  /** Number of its pictures, those of all models, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures, its own and those of other shards; of several models the folder of their folders. */
  directory: string;
  seconds: number;
}

/**
 * Where shards of an evaluation find each other: evaluation.json has evaluation.shards.json beside it, and
 * evaluation.shards.2.json for the second of several models.
 * @param place of the model, from 0 on
 */
export function shardsFile(resultFile: string, place = 0): string {
  const which = place === 0 ? "" : `.${place + 1}`;
  return `${resultFile.replace(/\.json$/i, "")}.shards${which}.json`;
}

/**
 * All that the pictures of one model depend on, which the shards of an evaluation share.
 * @param key the one that it is drawn with
 * @throws NOT_FOUND, IO_ERROR, ABORTED
 */
export async function picturesIdentity(
  base: StableDiffusion,
  o: ParsedOptions,
  { shots }: Plan,
  key: PromptKey | undefined,
): Promise<Record<string, unknown>> {
  const { erased, preserved, prompt, imagesPerClass, seed, steps, guidanceScale } = o;
  const { sampler = base.defaultSampler, width = base.imageSize, height = base.imageSize } = o;
  const { negativePrompt, keyGuidance, batchSize } = o;
  return {
    model: await modelIdentity(base, o.signal),
    ...{ erased, preserved, prompt, imagesPerClass, seed, steps, guidanceScale, sampler, width, height },
    ...{ negativePrompt, keyGuidance, batchSize, key: await contentOf(key ?? null) },
    ...givenSizes(o),
    // What a prompt file says, and classes of another domain.
    shots: digest(shots.map(({ prompt: text, seed: noise, drawing }) => [text, noise, drawing])),
  };
}

/** What a shard has done of one model, or of several. @param directory the folder of all their folders */
export function ofAllModels(
  shards: readonly EvaluationShard[],
  directory: string,
  seconds: number,
): EvaluationShard {
  const [first, ...others] = shards as [EvaluationShard, ...EvaluationShard[]];
  if (others.length === 0) return first;
  return shards.reduce(
    (all, { images, generated }) => ({
      ...all,
      images: all.images + images,
      generated: all.generated + generated,
    }),
    { shard: first.shard, images: 0, generated: 0, directory, seconds },
  );
}

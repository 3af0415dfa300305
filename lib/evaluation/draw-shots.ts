import { tell } from "../check";
import {
  generateImageSet,
  type ImageSet,
  type ImageSetOptions,
  type ImageSetProgress,
} from "../diffusion/image-set";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { Image } from "../io/image";
import type { Shot } from "./shots";

/** Pictures that were asked for, on disk. */
export class DrawnShots {
  constructor(
    readonly shots: readonly Shot[],
    private readonly places: readonly { readonly set: ImageSet; readonly index: number }[],
    /** Number of the pictures; a shard has only its part of those that are asked for. */
    readonly length: number,
    /** How many of them were made by the call that gave these; the others were there. */
    readonly generated: number,
    /** The folder of their set; where they are of several, the folder of those. */
    readonly directory: string,
  ) {}

  /** Where picture `i` lies. */
  path(i: number): string {
    const { set, index } = this.places[i]!;
    return set.path(index);
  }

  /** Pictures from `start` on. @throws NOT_FOUND, UNSUPPORTED_FORMAT */
  async images(start: number, count: number): Promise<Image[]> {
    const images: Image[] = [];
    for (const { set, index } of this.places.slice(start, start + count)) images.push(await set.image(index));
    return images;
  }
}

/**
 * Makes the pictures that are asked for, or finds them. Those that are drawn with the same settings are a set.
 * @throws INVALID_ARGUMENT, NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED
 */
export async function drawShots(
  model: StableDiffusion,
  shots: readonly Shot[],
  { onProgress, ...shared }: ImageSetOptions,
): Promise<DrawnShots> {
  const groups = new Map<string, number[]>();
  shots.forEach(({ drawing }, i) => {
    const key = JSON.stringify(drawing);
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [i]);
    else members.push(i);
  });
  const places: { set: ImageSet; index: number }[] = [];
  const unique = new Set(shots.map(({ prompt, seed, drawing }) => JSON.stringify([prompt, seed, drawing])))
    .size;
  const total = Math.ceil(unique / (shared.shard?.count ?? 1));
  let [done, generated, length, directory] = [0, 0, 0, shared.directory];
  for (const members of groups.values()) {
    let last: ImageSetProgress | undefined;
    const items = members.map((i) => ({ prompt: shots[i]!.prompt, seed: shots[i]!.seed }));
    const set = await generateImageSet(model, items, {
      ...shared,
      ...shots[members[0]!]!.drawing,
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- generateImageSet waits for its listener
      onProgress: (own) => {
        last = own;
        return tell(onProgress, groups.size === 1 ? own : ofAll(own, { done, generated, total }));
      },
    });
    if (shared.shard === undefined) members.forEach((i, index) => (places[i] = { set, index }));
    done += last?.total ?? 0;
    generated += set.generated;
    length += set.length;
    if (groups.size === 1) directory = set.directory;
  }
  return new DrawnShots(shots, places, length, generated, directory);
}

/** How far all sets are; those to come take as long for each picture as this one. */
function ofAll(
  own: ImageSetProgress,
  before: { done: number; generated: number; total: number },
): ImageSetProgress {
  const left = own.total - own.done;
  const later = Math.max(0, before.total - before.done - own.total);
  const each = left > 0 ? own.etaSeconds / left : 0;
  return {
    done: before.done + own.done,
    total: before.total,
    generated: before.generated + own.generated,
    etaSeconds: own.etaSeconds + each * later,
  };
}

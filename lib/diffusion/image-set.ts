import { join, resolve } from "node:path";
import { filePath, integer, invalid, jobOptions, knownKeys, tell } from "../check";
import { KpopError } from "../errors";
import { Image } from "../io/image";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { Given } from "../options/option";
import { partOf, shardOption, type Shard } from "../options/shard";
import { checkGenerate, startingNoise } from "./generate";
import { DRAWING_OPTIONS, type GenerateOptions } from "./generate-options";
import { fileName, findMissing, folderOf, noteMachine, openFolder } from "./image-set-files";
import { imageSetIdentity, type SharedOptions } from "./image-set-identity";
import { givenSizes } from "./picture-sizes";
import { seesKey, type PromptKey } from "./prompt-key";
import { sampler as samplerNamed } from "./samplers";
import { StableDiffusion } from "./stable-diffusion";

const DRAWING = Object.keys(DRAWING_OPTIONS) as (keyof typeof DRAWING_OPTIONS)[];

/** One picture: what it shows, and the seed of its noise. */
export interface ImageSetItem {
  prompt: string;
  seed: number;
}

/** How far a set is. */
export interface ImageSetProgress {
  /** Pictures that are there, made now or before. */
  done: number;
  total: number;
  /** Those that this call has made. */
  generated: number;
  /** Seconds that the rest takes. The first report, after the first steps, is thus the estimate of the whole. */
  etaSeconds: number;
}

/** How the pictures of a set are made, and where they are kept. */
export interface ImageSetOptions extends Given<typeof DRAWING_OPTIONS> {
  signal?: AbortSignal;
  /** Each set has a folder of its own in this one. */
  directory: string;
  /** Make every count-th batch alone, from index on: the set given has those pictures. Default: all. */
  shard?: Shard;
  onProgress?(progress: ImageSetProgress): void;
}

/** Pictures on disk, each for a prompt and a seed. */
export class ImageSet {
  /** Absolute path of the folder. */
  readonly directory: string;
  readonly items: readonly Readonly<ImageSetItem>[];
  /** How many of them were made by the call that gave this set; the others were there. */
  readonly generated: number;
  private readonly paths: readonly string[];

  /** @internal Use `generateImageSet`. */
  constructor(
    directory: string,
    items: readonly ImageSetItem[],
    paths: readonly string[],
    generated: number,
  ) {
    this.directory = directory;
    this.items = items;
    this.paths = paths;
    this.generated = generated;
  }

  get length(): number {
    return this.items.length;
  }

  /** Where picture `index` lies. @throws INVALID_ARGUMENT */
  path(index: number): string {
    return this.paths[integer("index", index, 0, this.paths.length - 1)]!;
  }

  /** Picture `index`. @throws INVALID_ARGUMENT; NOT_FOUND, UNSUPPORTED_FORMAT when it was removed or damaged since */
  async image(index: number): Promise<Image> {
    const path = this.path(index);
    try {
      return await Image.load(path);
    } catch (cause) {
      if (!(cause instanceof KpopError)) throw cause;
      const advice = "run the same again: it makes the pictures that are missing";
      throw new KpopError(cause.code, `${cause.message}; ${advice}`, { cause });
    }
  }
}

/**
 * Makes a picture for each prompt and seed, or finds it: a picture is made once for a model (its weights as they are in
 * memory), options, prompt and seed. Interrupted work goes on with what is there; damaged files are made again.
 *
 * Repeated or resumed, a list gives the same bytes. Rounding depends on the size of a batch and, with several threads, on
 * the place in it; so batches always have `batchSize` pictures, filled up with repetitions, and the picture at index i of
 * the list always stands at place i modulo `batchSize`, whichever pictures are there already. A list
 * shorter than a batch takes the time of a whole one. Processes that share a list by `shard` make what one alone makes, to
 * the byte where they compute alike, and each leaves every picture whole: afterwards the call without a shard finds them.
 * @param items repetitions are made once
 * @throws INVALID_ARGUMENT, NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED
 */
export async function generateImageSet(
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  options: ImageSetOptions,
): Promise<ImageSet> {
  const shared = check(model, items, options);
  const { key, signal, onProgress } = options;
  const identity = await imageSetIdentity(model, shared, key, signal);
  const directory = await openFolder(resolve(options.directory), identity);
  const { paths, own } = placed(model, items, options, shared, directory);
  const missing = await findMissing(own, shared);
  const batches = inGroups(missing, shared.batchSize, key);
  if (batches.length > 0) await noteMachine(directory, model.device);
  const clock = new Clock(batches.length * stepsOf(model, shared));
  let generated = 0;
  const report = (etaSeconds: number): Promise<void> => {
    const done = own.length - missing.length + generated;
    return tell(onProgress, { done, total: own.length, generated, etaSeconds });
  };
  for (const batch of batches) {
    const images = await generateBatch(model, batch, shared, {
      ...(key === undefined ? {} : { key }),
      ...(signal === undefined ? {} : { signal }),
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- generate waits for its listener
      async onStep() {
        clock.tick();
        if (clock.etaSeconds !== null && clock.remaining > 0) await report(clock.etaSeconds);
      },
    });
    for (const [place, picture] of batch.entries()) {
      if (picture === undefined) continue;
      await images[place]!.save(picture.path);
      generated += 1;
    }
  }
  await report(0);
  if (options.shard === undefined) return new ImageSet(directory, items, paths, generated);
  const part = own.sort((a, b) => a.place - b.place);
  return new ImageSet(
    directory,
    part.map(({ place }) => items[place]!),
    part.map(({ path }) => path),
    generated,
  );
}

/**
 * How many batches `generateImageSet` would draw; nothing is made or written.
 * @throws INVALID_ARGUMENT, IO_ERROR, ABORTED
 */
export async function batchesToDraw(
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  options: ImageSetOptions,
): Promise<number> {
  const shared = check(model, items, options);
  const { key, signal } = options;
  const identity = await imageSetIdentity(model, shared, key, signal);
  const { own } = placed(model, items, options, shared, folderOf(resolve(options.directory), identity));
  return inGroups(await findMissing(own, shared), shared.batchSize, key).length;
}

/** Where the pictures of a list lie, and those that this call makes. */
function placed(
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  { key, shard }: ImageSetOptions,
  { batchSize }: SharedOptions,
  directory: string,
) {
  const paths = items.map((item) => join(directory, fileName(model, item)));
  const wanted = new Map(items.map((item, i) => [paths[i]!, { ...item, path: paths[i]!, place: i }]));
  const own = partOf(shard, inGroups([...wanted.values()], batchSize, key)).flatMap((batch) =>
    batch.filter((picture) => picture !== undefined),
  );
  return { paths, own };
}

/** A picture that is drawn again. */
export interface PlacedItem extends ImageSetItem {
  /** Index in the list that it was drawn of. */
  place: number;
}

/**
 * Draws pictures at the places of a batch that `generateImageSet` gives them, and keeps none: on the same kind of machine
 * they have the same bytes.
 * @param job.onDrawn told after each batch how many are drawn
 * @returns them in their order
 * @throws INVALID_ARGUMENT, OUT_OF_MEMORY, ABORTED
 * @internal
 */
export async function drawAtPlaces(
  model: StableDiffusion,
  pictures: readonly PlacedItem[],
  options: Given<typeof DRAWING_OPTIONS>,
  { onDrawn, ...job }: Pick<GenerateOptions, "signal"> & { onDrawn?(done: number): unknown },
): Promise<Image[]> {
  const shared = sharedOptions(model, pictures, options);
  const drawn = new Map<PlacedItem, Image>();
  for (const batch of inBatches(pictures, shared.batchSize)) {
    const images = await generateBatch(model, batch, shared, job);
    for (const [place, picture] of batch.entries())
      if (picture !== undefined) drawn.set(picture, images[place]!);
    await tell(onDrawn, drawn.size);
  }
  return pictures.map((picture) => drawn.get(picture)!);
}

function check(
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  options: ImageSetOptions,
): SharedOptions {
  if (!(model instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion", model);
  knownKeys("the image set options", options, [...DRAWING, "directory", "shard", "signal", "onProgress"]);
  jobOptions(options, "onProgress");
  filePath("directory", options.directory);
  if (options.shard !== undefined) shardOption().check("shard", options.shard, { concepts: [] });
  if (!Array.isArray(items) || items.length === 0)
    throw invalid("items", "a non-empty list of prompts with seeds", items);
  for (const item of items as readonly ImageSetItem[]) {
    knownKeys("an item", item, ["prompt", "seed"]);
    integer("seed", item.seed, 0);
  }
  return sharedOptions(model, items, options);
}

function sharedOptions(
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  options: Given<typeof DRAWING_OPTIONS>,
): SharedOptions {
  const generateOptions = Object.fromEntries(
    DRAWING.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  );
  const prompts = items.map(({ prompt }) => prompt);
  const o = checkGenerate(model, prompts, generateOptions);
  const { steps, guidanceScale, negativePrompt, width, height, keyGuidance, batchSize } = o;
  const sampler = options.sampler ?? model.defaultSampler;
  const negative = negativePrompt === undefined ? {} : { negativePrompt };
  return {
    ...{ steps, guidanceScale, sampler, ...negative, width, height, keyGuidance, batchSize },
    ...givenSizes(o),
  };
}

/** Denoising steps of a picture; some samplers take one more than they are asked for. */
function stepsOf(model: StableDiffusion, { sampler, steps }: SharedOptions): number {
  return samplerNamed(sampler).timesteps(model.schedule, steps).length;
}

/** Batches, those that see a key together and those that do not: `generate` would split one of both. */
function inGroups<P extends PlacedItem>(
  pictures: readonly P[],
  size: number,
  key: PromptKey | undefined,
): (P | undefined)[][] {
  const sees = ({ prompt }: P): boolean => key === undefined || seesKey(key, prompt);
  const groups = [pictures.filter(sees), pictures.filter((picture) => !sees(picture))];
  return groups.flatMap((group) => inBatches(group, size));
}

/** Batches by place; undefined where there is nothing to make. */
function inBatches<P extends PlacedItem>(pictures: readonly P[], size: number): (P | undefined)[][] {
  const queues = Array.from({ length: size }, (_, place) =>
    pictures.filter((picture) => picture.place % size === place),
  );
  const count = Math.max(...queues.map((queue) => queue.length));
  return Array.from({ length: count }, (_, i) => queues.map((queue) => queue[i]));
}

async function generateBatch(
  model: StableDiffusion,
  batch: readonly (PlacedItem | undefined)[],
  options: SharedOptions,
  job: Pick<GenerateOptions, "key" | "signal" | "onStep">,
): Promise<Image[]> {
  const { width, height, ...rest } = options;
  const some = batch.find((picture) => picture !== undefined)!;
  const filled = batch.map((picture) => picture ?? some);
  return unscoped(() =>
    scope(async () => {
      const latents = Tensor.cat(filled.map(({ seed }) => startingNoise(model, seed, { width, height })));
      return model.generate(
        filled.map(({ prompt }) => prompt),
        { ...rest, ...job, latents },
      );
    }),
  );
}

/** The time that is left, from the steps taken after the first, which warms up. */
class Clock {
  remaining: number;
  private taken = 0;
  private started = 0;

  constructor(steps: number) {
    this.remaining = steps;
  }

  tick(): void {
    if (this.taken === 0) this.started = performance.now();
    this.taken += 1;
    this.remaining -= 1;
  }

  /** Null until there is something to tell it from. */
  get etaSeconds(): number | null {
    if (this.taken < 2) return null;
    return ((performance.now() - this.started) / 1000 / (this.taken - 1)) * this.remaining;
  }
}

import { dirname, join, resolve } from "node:path";
import { invalid, tell } from "../check";
import { generateImageSet, type ImageSet } from "../diffusion/image-set";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError, throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { checkOutputFile } from "../io/check-output";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { cacheFolder } from "../runtime/cache-directory";
import type { Classifier } from "./classifier";
import { classifierFor } from "./classifier-for";
import { ClipScorer } from "./clip-scorer";
import { parseEvaluateOptions, type EvaluatedClass, type ParsedOptions } from "./evaluate-options";
import type { EvaluateOptions } from "./evaluate-options";
import { judgeOf, type Judge } from "./judge";
import { averageRate, erasedRate, meanOf, preservedRate, type Mean, type Rate } from "./rates";

/** Pictures loaded together. */
const BATCH = 32;

/** What one picture was taken for. */
export interface EvaluatedPicture {
  /** Name of the class that it was asked to show. */
  class: string;
  seed: number;
  path: string;
  /** Place of the own class in the classifier's ranking, 1 for the first. */
  rank: number;
  /** Index of the class that the classifier puts first. */
  best: number;
  /** 100 · max(cos, 0) of the picture and its prompt; only with a CLIP. */
  clipScore?: number;
}

/** What was measured of one class. */
export interface ClassEvaluation {
  name: string;
  group: "erased" | "preserved";
  prompt: string;
  /** ESR-k of an erased class, PSR-k of a preserved one, by k. */
  rates: Record<number, Rate>;
  /** Mean over its pictures; only with a CLIP. */
  clipScore?: Mean;
}

/** What `evaluate` measured. */
export interface Evaluation {
  classes: ClassEvaluation[];
  /** Erasing success by k: the share of pictures of erased classes that the classifier does not put among the first k;
   *  mean over the classes. Empty without erased classes. */
  esr: Record<number, Rate>;
  /** Preserving success by k: the share of pictures of preserved classes that it does. */
  psr: Record<number, Rate>;
  /** Mean CLIP scores over the pictures of each group; only with a CLIP. */
  clipScore?: { erased?: Mean; preserved?: Mean };
  /** What named the pictures. */
  classifier: Judge;
  /** What gave the CLIP scores; only with a CLIP. */
  clip?: Judge;
  pictures: EvaluatedPicture[];
  /** Number of pictures, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures. */
  directory: string;
  seconds: number;
}

/**
 * Measures what a model no longer draws, and what it still draws: pictures of every class are given to a classifier
 * (ESR-k and PSR-k of KPOP's Table 2; 95 % intervals by Wilson's score) and, if there is one, to a CLIP (Table 4).
 *
 * Pictures are kept in `cacheDirectory` and never made twice, so an interrupted evaluation goes on where it stopped.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (a class that the classifier does not know, too), ABORTED, OUT_OF_MEMORY, NO_SPACE, IO_ERROR, and
 *   for paths what loading them throws
 */
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const o = parseEvaluateOptions(options);
  throwIfAborted(o.signal);
  const started = performance.now();
  const job = o.signal === undefined ? {} : { signal: o.signal };
  if (o.resultFile !== undefined) await checkResultFile(o.resultFile);
  const made: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(item: T): T => {
    made.push(item);
    return item;
  };
  try {
    const base = typeof model === "string" ? own(await StableDiffusion.load(model, job)) : model;
    if (!(base instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion or a path", model);
    const place = { ...job, device: base.device };
    const clip = typeof o.clip === "string" ? own(await ClipScorer.load(o.clip, place)) : o.clip;
    const classifier = await classifierOf(o, base, clip, own);
    const outputs = o.classes.map(({ name }) => classifier.indexOf(name));
    const topK = checkTopK(o, classifier);
    const set = await makePictures(base, o);
    const pictures = await look(set, o, { classifier, outputs, clip });
    const evaluation = {
      ...summarize(o.classes, pictures, topK),
      classifier: await judgeOf(classifier, o.signal),
      ...(clip === undefined ? {} : { clip: await judgeOf(clip, o.signal) }),
      pictures,
      images: set.length,
      generated: set.generated,
      directory: set.directory,
      seconds: (performance.now() - started) / 1000,
    };
    if (o.resultFile !== undefined) await writeFileAtomically(o.resultFile, formatJson(evaluation));
    return evaluation;
  } finally {
    for (const item of made.reverse()) item.dispose();
  }
}

/** Finds out before the work whether the result can be written. */
async function checkResultFile(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  await makeFolder(folder);
  await checkOutputFile(path, { force: true });
}

async function classifierOf(
  o: ParsedOptions,
  base: StableDiffusion,
  clip: ClipScorer | undefined,
  own: <T extends { dispose(): void }>(item: T) => T,
): Promise<Classifier> {
  if (o.classifier === undefined && clip !== undefined)
    return own(
      clip.zeroShot(
        o.classes.map(({ name }) => name),
        o.prompt,
      ),
    );
  const { classifier, owned } = await classifierFor(base, o.classifier, {
    signal: o.signal,
    alternative: "a clip",
  });
  return owned ? own(classifier) : classifier;
}

function checkTopK({ topK, topKGiven }: ParsedOptions, classifier: Classifier): number[] {
  const tooMany = topK.filter((k) => k >= classifier.outputs);
  if (tooMany.length === 0) return [...topK];
  if (topKGiven) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected topK to be below ${classifier.outputs}, the number of classes that ${classifier.origin} tells apart, but received ${tooMany[0]}: every picture would count`,
    );
  }
  return topK.filter((k) => k < classifier.outputs);
}

async function makePictures(base: StableDiffusion, o: ParsedOptions): Promise<ImageSet> {
  const { onProgress } = o;
  let estimated = false;
  const items = o.classes.flatMap(({ prompt }) =>
    Array.from({ length: o.imagesPerClass }, (_, i) => ({ prompt, seed: o.seed + i })),
  );
  return generateImageSet(base, items, {
    ...o.generation,
    directory: o.cacheDirectory ?? join(cacheFolder(), "images"),
    ...(o.signal === undefined ? {} : { signal: o.signal }),
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- generateImageSet waits for its listener
    async onProgress(progress) {
      const first = !estimated;
      estimated = true;
      if (first) await tell(onProgress, { phase: "estimate", ...progress });
      await tell(onProgress, { phase: "images", ...progress });
    },
  });
}

interface Judges {
  classifier: Classifier;
  /** The classifier's output for each of the classes. */
  outputs: readonly number[];
  clip: ClipScorer | undefined;
}

async function look(
  set: ImageSet,
  o: ParsedOptions,
  { classifier, outputs, clip }: Judges,
): Promise<EvaluatedPicture[]> {
  const pictures: EvaluatedPicture[] = [];
  const started = performance.now();
  for (let first = 0; first < set.length; first += BATCH) {
    throwIfAborted(o.signal);
    const indices = Array.from({ length: Math.min(BATCH, set.length - first) }, (_, i) => first + i);
    const images = [];
    for (const index of indices) images.push(await set.image(index));
    const rankings = await classifier.classify(images);
    const scores = await clip?.score(
      images,
      indices.map((index) => set.items[index]!.prompt),
    );
    indices.forEach((index, i) => {
      const group = Math.floor(index / o.imagesPerClass);
      const ranking = rankings[i]!.indices;
      pictures.push({
        class: o.classes[group]!.name,
        seed: set.items[index]!.seed,
        path: set.path(index),
        rank: ranking.indexOf(outputs[group]!) + 1,
        best: ranking[0]!,
        ...(scores === undefined ? {} : { clipScore: scores[i]! }),
      });
    });
    const [done, total] = [pictures.length, set.length];
    const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
    await tell(o.onProgress, { phase: "classes", done, total, generated: set.generated, etaSeconds });
  }
  return pictures;
}

/** Rates, and mean CLIP scores, as they follow from what was seen in each picture. @internal */
export function summarize(
  classes: readonly EvaluatedClass[],
  pictures: readonly Omit<EvaluatedPicture, "path">[],
  topK: readonly number[],
): Pick<Evaluation, "classes" | "esr" | "psr" | "clipScore"> {
  const scoresOf = (some: typeof pictures): number[] => some.flatMap(({ clipScore }) => clipScore ?? []);
  const evaluated = classes.map(({ name, group, prompt }): ClassEvaluation => {
    const own = pictures.filter((picture) => picture.class === name);
    const ranks = own.map(({ rank }) => rank);
    const rateAt = group === "erased" ? erasedRate : preservedRate;
    const scores = scoresOf(own);
    return {
      name,
      group,
      prompt,
      rates: byK(topK, (k) => rateAt(ranks, k)),
      ...(scores.length === 0 ? {} : { clipScore: meanOf(scores) }),
    };
  });
  const inGroup = (group: string) => evaluated.filter((one) => one.group === group);
  const average = (group: string): Record<number, Rate> => {
    const members = inGroup(group);
    return members.length === 0 ? {} : byK(topK, (k) => averageRate(members.map(({ rates }) => rates[k]!)));
  };
  const clipScore: { erased?: Mean; preserved?: Mean } = {};
  for (const group of ["erased", "preserved"] as const) {
    const names = new Set(inGroup(group).map(({ name }) => name));
    const scores = scoresOf(pictures.filter((picture) => names.has(picture.class)));
    if (scores.length > 0) clipScore[group] = meanOf(scores);
  }
  return {
    classes: evaluated,
    esr: average("erased"),
    psr: average("preserved"),
    ...(Object.keys(clipScore).length === 0 ? {} : { clipScore }),
  };
}

function byK(topK: readonly number[], rateAt: (k: number) => Rate): Record<number, Rate> {
  return Object.fromEntries(topK.map((k) => [k, rateAt(k)]));
}

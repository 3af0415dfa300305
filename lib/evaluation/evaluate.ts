import { dirname, join, resolve } from "node:path";
import { tell } from "../check";
import { generateImageSet, type ImageSet } from "../diffusion/image-set";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { KpopError, throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { checkOutputFile } from "../io/check-output";
import { joinRun } from "../files/join-run";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import type { Shard } from "../options/shard";
import { cacheFolder } from "../runtime/cache-directory";
import type { Classifier } from "./classifier";
import { classifierFor } from "./classifier-for";
import { ClipScorer } from "./clip-scorer";
import { parseEvaluateOptions, type ParsedOptions } from "./evaluate-options";
import type { EvaluateOptions, EvaluateShardOptions } from "./evaluate-options";
import { picturesIdentity, shardsFile, type EvaluationShard } from "./evaluation-shard";
import { judgeOf, type Judge } from "./judge";
import { look } from "./look";
import { Metrics } from "./measure";
import { allMetrics, type MetricNotes, type MetricResults } from "./metrics";
import type { Mean, Rate } from "./rates";
import { summarize, type ClassEvaluation } from "./summarize";

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
  /** What metrics note of it, by their names; only with those that do. */
  metrics?: MetricNotes;
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
  /** What each metric says of all pictures, by its name; only with metrics. */
  metrics?: MetricResults;
  pictures: EvaluatedPicture[];
  /** Number of pictures, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures. */
  directory: string;
  seconds: number;
  /** The command that it is the work of, where that was given. */
  command?: string;
}

/**
 * Measures what a model no longer draws, and what it still draws: pictures of every class are given to a classifier
 * (ESR-k and PSR-k of KPOP's Table 2; 95 % intervals by Wilson's score) and, if there is one, to a CLIP (Table 4).
 *
 * Pictures are kept in `cacheDirectory` and never made twice, so an interrupted evaluation goes on where it stopped, and
 * several processes make the pictures together, each its `shard` of them: the call without a shard finds them and measures.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (a class that the classifier does not know, too), ABORTED, OUT_OF_MEMORY, NO_SPACE, IO_ERROR, and
 *   for paths what loading them throws
 */
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateShardOptions,
): Promise<EvaluationShard>;
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions & { shard: Shard | undefined },
): Promise<Evaluation | EvaluationShard>;
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions & { shard?: undefined },
): Promise<Evaluation>;
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions & { shard?: Shard | undefined },
): Promise<Evaluation | EvaluationShard> {
  const o = parseEvaluateOptions(options);
  checkModel("model", model);
  throwIfAborted(o.signal);
  return traced(
    "kpop-native:evaluate",
    () => ({ model: pathOf(model), erased: [...o.erased], preserved: [...o.preserved] }),
    () => measure(model, o),
    (found) => {
      if ("shard" in found) return undefined;
      const { images, generated, esr, psr } = found;
      return { images, generated, esr: values(esr), psr: values(psr) };
    },
  );
}

function values(rates: Readonly<Record<number, Rate>>): Record<number, number> {
  return Object.fromEntries(Object.entries(rates).map(([k, { value }]) => [k, value]));
}

async function measure(
  model: StableDiffusion | string,
  o: ParsedOptions,
): Promise<Evaluation | EvaluationShard> {
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
    const place = { ...job, device: base.device };
    const clip = typeof o.clip === "string" ? own(await ClipScorer.load(o.clip, place)) : o.clip;
    const classifier = await classifierOf(o, base, clip, own);
    const outputs = o.classes.map(({ name }) => classifier.indexOf(name));
    const topK = checkTopK(o, classifier);
    const part = o.shard !== undefined;
    const endRun =
      o.resultFile === undefined
        ? null
        : await joinRun(shardsFile(o.resultFile), () => picturesIdentity(base, o), { part });
    const seconds = (): number => (performance.now() - started) / 1000;
    if (o.shard !== undefined) {
      const { length: images, generated, directory } = await makePictures(base, o);
      return { shard: o.shard, images, generated, directory, seconds: seconds() };
    }
    const metrics = own(
      await Metrics.open(allMetrics(), o as never, { ...place, models: 1, signal: o.signal }),
    );
    const set = await makePictures(base, o);
    const { classes, imagesPerClass } = o;
    const looked = { set, classes, imagesPerClass, measurements: metrics.begin(), first: null };
    const pictures = await look(looked, { classifier, outputs, clip }, o);
    const measured = await metrics.results();
    const evaluation = {
      ...summarize(o.classes, pictures, topK),
      classifier: await judgeOf(classifier, o.signal),
      ...(clip === undefined ? {} : { clip: await judgeOf(clip, o.signal) }),
      ...(measured === null ? {} : { metrics: measured as MetricResults }),
      pictures,
      images: set.length,
      generated: set.generated,
      directory: set.directory,
      seconds: seconds(),
      ...(o.command === undefined ? {} : { command: o.command }),
    };
    if (o.resultFile !== undefined) await writeFileAtomically(o.resultFile, formatJson(evaluation));
    await endRun?.();
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
    ...(o.shard === undefined ? {} : { shard: o.shard }),
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

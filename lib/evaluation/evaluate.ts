import { dirname, join, resolve } from "node:path";
import { tell } from "../check";
import { traced } from "../diagnostics";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf } from "../diffusion/with-model";
import { throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { checkOutputFile } from "../io/check-output";
import { cacheFolder } from "../runtime/cache-directory";
import { drawShots, type DrawnShots } from "./draw-shots";
import { parseEvaluateOptions, type EvaluateOptions, type ParsedOptions } from "./evaluate-options";
import type { Judge } from "./judge";
import { judgesOf, openJudges } from "./judges";
import { look } from "./look";
import type { MetricNotes, MetricResults } from "./metrics";
import type { Mean, Rate } from "./rates";
import { planShots } from "./shots";
import { summarize, type Accuracy, type ClassEvaluation, type CrossClassEvaluation } from "./summarize";

/** Where a class stands in a classifier's ranking of a picture. */
export interface RankedClass {
  /** As it was asked for. */
  name: string;
  /** Its place in the ranking, 1 for the first. */
  rank: number;
  /** Index of the class that the classifier puts first. */
  best: number;
}

/** What one picture was taken for. */
export interface EvaluatedPicture {
  /** Name of the class that it was asked to show; without one it has no rank. */
  class?: string;
  /** Place of the own class in the classifier's ranking, 1 for the first. */
  rank?: number;
  /** Index of the class that the classifier puts first. */
  best?: number;
  /** The class of another domain that it was asked to show; only with one. */
  crossClass?: RankedClass;
  /** What its prompt file calls it; only where it does. */
  case?: string;
  prompt: string;
  seed: number;
  path: string;
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
  /** Classes of another domain; only with some. */
  crossClasses?: CrossClassEvaluation[];
  /** UA, IRA and CRA; only with classes. */
  accuracy?: Accuracy;
  /** Mean CLIP scores over the pictures of each group, or of all where they have no classes; only with a CLIP. */
  clipScore?: { erased?: Mean; preserved?: Mean; all?: Mean };
  /** What named the pictures; only with classes. */
  classifier?: Judge;
  /** What named their classes of another domain; only with some. */
  crossClassifier?: Judge;
  /** What gave the CLIP scores; only with a CLIP. */
  clip?: Judge;
  /** What each metric says of all pictures, by its name; only with metrics. */
  metrics?: MetricResults;
  pictures: EvaluatedPicture[];
  /** Number of pictures, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures; where they are drawn with settings of their own, the folder of those folders. */
  directory: string;
  seconds: number;
}

/**
 * Measures what a model no longer draws, and what it still draws: pictures of every class are given to a classifier
 * (ESR-k and PSR-k of KPOP's Table 2; 95 % intervals by Wilson's score) and, if there is one, to a CLIP (Table 4).
 *
 * The pictures are of classes, or of the rows of a prompt file. They are kept in `cacheDirectory` and never made twice, so
 * an interrupted evaluation goes on where it stopped.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (a class that the classifier does not know, too), ABORTED, OUT_OF_MEMORY, NO_SPACE, IO_ERROR, and
 *   for paths what loading them throws
 */
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const o = parseEvaluateOptions(options);
  checkModel("model", model);
  throwIfAborted(o.signal);
  return traced(
    "kpop-native:evaluate",
    () => ({ model: pathOf(model), erased: [...o.erased], preserved: [...o.preserved] }),
    () => measure(model, o),
    ({ images, generated, esr, psr }) => ({ images, generated, esr: values(esr), psr: values(psr) }),
  );
}

function values(rates: Readonly<Record<number, Rate>>): Record<number, number> {
  return Object.fromEntries(Object.entries(rates).map(([k, { value }]) => [k, value]));
}

async function measure(model: StableDiffusion | string, o: ParsedOptions): Promise<Evaluation> {
  const started = performance.now();
  if (o.resultFile !== undefined) await checkResultFile(o.resultFile);
  const made: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(item: T): T => {
    made.push(item);
    return item;
  };
  try {
    const plan = await planShots(o);
    const base = typeof model === "string" ? own(await StableDiffusion.load(model, job(o))) : model;
    const judges = await openJudges(plan, o, base, 1, own);
    const drawn = await draw(base, plan.shots, o);
    const pictures = await look(drawn, plan.classes, judges, null, o);
    const metrics = await judges.metrics.results();
    const evaluation = {
      ...summarize(plan.classes, pictures, judges.topK),
      ...(await judgesOf(judges, o.signal)),
      ...(metrics === null ? {} : { metrics }),
      pictures,
      images: drawn.length,
      generated: drawn.generated,
      directory: drawn.directory,
      seconds: (performance.now() - started) / 1000,
    };
    if (o.resultFile !== undefined) await writeFileAtomically(o.resultFile, formatJson(evaluation));
    return evaluation;
  } finally {
    for (const item of made.reverse()) item.dispose();
  }
}

function job({ signal }: ParsedOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Finds out before the work whether the result can be written. */
async function checkResultFile(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  await makeFolder(folder);
  await checkOutputFile(path, { force: true });
}

async function draw(
  base: StableDiffusion,
  shots: DrawnShots["shots"],
  o: ParsedOptions,
): Promise<DrawnShots> {
  const { onProgress } = o;
  let estimated = false;
  return drawShots(base, shots, {
    ...o.generation,
    directory: o.cacheDirectory ?? join(cacheFolder(), "images"),
    ...job(o),
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- generateImageSet waits for its listener
    async onProgress(progress) {
      const first = !estimated;
      estimated = true;
      if (first) await tell(onProgress, { phase: "estimate", ...progress });
      await tell(onProgress, { phase: "images", ...progress });
    },
  });
}

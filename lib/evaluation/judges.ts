import { invalid, tell } from "../check";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import type { Classifier } from "./classifier";
import { classifierFor } from "./classifier-for";
import { ClipScorer } from "./clip-scorer";
import type { ParsedOptions } from "./evaluate-options";
import { ImageClassifier } from "./image-classifier";
import { judgeOf, type Judge } from "./judge";
import { Metrics } from "./measure";
import type { Metric, MetricJob } from "./metric";
import { allMetrics } from "./metrics";
import type { Plan } from "./shots";

/** What looks at the pictures of an evaluation. */
export interface Judges {
  /** What names the pictures' classes, with its output for each; null where no picture has one. */
  readonly classes: { readonly classifier: Classifier; readonly outputs: readonly number[] } | null;
  /** What names their classes of the other domain; null where no picture has one. */
  readonly crossClasses: Classifier | null;
  readonly clip: ClipScorer | undefined;
  readonly metrics: Metrics;
  /** The places that count as recognised, as far as the classifier has more classes. */
  readonly topK: readonly number[];
}

/** Takes what has to be disposed of. */
type Own = <T extends { dispose(): void }>(item: T) => T;

/**
 * Loads what is not loaded yet, and refuses what it cannot judge.
 * @param own takes what was loaded here
 * @param models how many are compared
 */
export async function openJudges(
  { shots, classes }: Plan,
  o: ParsedOptions,
  base: StableDiffusion,
  models: number,
  own: Own,
): Promise<Judges> {
  const place = { device: base.device, ...(o.signal === undefined ? {} : { signal: o.signal }) };
  const clip = typeof o.clip === "string" ? own(await ClipScorer.load(o.clip, place)) : o.clip;
  const asked = allMetrics().filter(
    ({ name }) => (o as unknown as Readonly<Record<string, unknown>>)[name] !== undefined,
  );
  const cross = [...new Set(shots.flatMap(({ crossClass }) => crossClass ?? []))];
  const measuring = { device: base.device, models, signal: o.signal };
  if (o.shard !== undefined) await tryMetrics(asked, o, measuring);
  if (classes.length === 0 && cross.length === 0 && clip === undefined && asked.length === 0)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected something to measure: prompts without classes want a clip or a metric (${allMetrics().map(({ name }) => name).join(", ")})`,
    ); // prettier-ignore
  const wanted = classes.length > 0 || (cross.length > 0 && o.crossClassifier === undefined);
  if (!wanted && o.classifier !== undefined)
    throw invalid("classifier", "left out, since no picture has a class,", o.classifier);
  const classifier = wanted ? await classifierOf(o, classes, base, clip, own) : null;
  const crossClasses = cross.length === 0 ? null : await crossClassifierOf(o, classifier, place, own);
  for (const name of cross) crossClasses!.indexOf(name);
  return {
    classes:
      classifier && classes.length > 0
        ? { classifier, outputs: classes.map(({ name }) => classifier.indexOf(name)) }
        : null,
    crossClasses,
    clip,
    topK: classifier === null || classes.length === 0 ? [] : checkTopK(o, classifier),
    metrics: own(
      await Metrics.open(o.shard === undefined ? asked : [], o as never, {
        ...measuring,
        onReference: (progress) => tell(o.onProgress, { phase: "reference", generated: 0, ...progress }),
      }),
    ),
  };
}

/** Refuses, before a shard draws, what the call that measures would refuse after all shards. */
async function tryMetrics(asked: readonly Metric[], o: ParsedOptions, job: MetricJob): Promise<void> {
  const tried = await Metrics.open(asked, o as never, { ...job, trial: true });
  tried.dispose();
}

/** What judged, for the result. */
export async function judgesOf(
  { classes, crossClasses, clip }: Judges,
  signal: AbortSignal | undefined,
): Promise<{ classifier?: Judge; crossClassifier?: Judge; clip?: Judge }> {
  return {
    ...(classes === null ? {} : { classifier: await judgeOf(classes.classifier, signal) }),
    ...(crossClasses === null ? {} : { crossClassifier: await judgeOf(crossClasses, signal) }),
    ...(clip === undefined ? {} : { clip: await judgeOf(clip, signal) }),
  };
}

async function classifierOf(
  o: ParsedOptions,
  classes: Plan["classes"],
  base: StableDiffusion,
  clip: ClipScorer | undefined,
  own: Own,
): Promise<Classifier> {
  if (o.classifier === undefined && clip !== undefined)
    return own(
      clip.zeroShot(
        classes.map(({ name }) => name),
        o.prompt,
      ),
    );
  const { classifier, owned } = await classifierFor(base, o.classifier, {
    signal: o.signal,
    alternative: "a clip",
  });
  return owned ? own(classifier) : classifier;
}

async function crossClassifierOf(
  { crossClassifier }: ParsedOptions,
  classifier: Classifier | null,
  place: { device: string; signal?: AbortSignal },
  own: Own,
): Promise<Classifier> {
  if (typeof crossClassifier === "string") return own(await ImageClassifier.load(crossClassifier, place));
  return crossClassifier ?? classifier!;
}

function checkTopK({ topK, topKGiven }: ParsedOptions, classifier: Classifier): number[] {
  const tooMany = topK.filter((k) => k >= classifier.outputs);
  if (tooMany.length > 0 && topKGiven)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected topK to be below ${classifier.outputs}, the number of classes that ${classifier.origin} tells apart, but received ${tooMany[0]}: every picture would count`,
    );
  return topK.filter((k) => k < classifier.outputs);
}

import { integer as checkInteger, invalid, jobOptions, knownKeys } from "../check";
import { DRAWING_OPTIONS } from "../diffusion/generate-options";
import type { ImageSetProgress } from "../diffusion/image-set";
import { command, integer, path, text, texts } from "../options/kinds";
import { complete, type Complete, type Given, type Option } from "../options/option";
import { readInteger } from "../options/read";
import { shardOption, type Shard } from "../options/shard";
import { Classifier } from "./classifier";
import { ClipScorer } from "./clip-scorer";
import { METRIC_OPTIONS } from "./metrics";
import { fillTemplate } from "./template";

/** How far an evaluation is. */
export interface EvaluationProgress extends ImageSetProgress {
  /** "estimate" comes once, when the first steps have shown how long the pictures take; then "images" as they are made, and
   *  "classes" as they are looked at. */
  phase: "estimate" | "images" | "classes";
}

const classifier: Option<Classifier | string | undefined, Classifier | string> = {
  default: undefined,
  help: "what names the pictures",
  check(name, value) {
    if (typeof value === "string" || value instanceof Classifier) return value;
    throw invalid(name, "a loaded classifier or a path", value);
  },
  flag: null,
};

const clip: Option<ClipScorer | string | undefined, ClipScorer | string> = {
  default: undefined,
  help: "adds CLIP scores",
  check(name, value) {
    if (typeof value === "string" || value instanceof ClipScorer) return value;
    throw invalid(name, "a loaded ClipScorer or a path", value);
  },
  flag: null,
};

const topK: Option<readonly number[]> = {
  default: [1, 5],
  help: "how many first places count as recognised; repeatable",
  check(name, value) {
    if (!Array.isArray(value) || value.length === 0)
      throw invalid(name, "a non-empty list of integers", value);
    const places = value.map((k: unknown) => checkInteger(name, k, 1));
    return [...new Set(places)].sort((a, b) => a - b);
  },
  flag: { form: "value", word: "n", repeatable: true, read: (typed) => typed.map(readInteger) },
};

/** Options of `evaluate`, as data. */
export const EVALUATE_OPTIONS = Object.freeze({
  /** Names of classes that the model should no longer draw; the classifier has to know them. */
  erased: texts([], "class that should be gone; repeatable"),
  /** Names of classes that it should still draw. */
  preserved: texts([], "class that should still be there; repeatable"),
  /** A loaded classifier, or what `ImageClassifier.load` takes. Default: zero-shot with `clip` among all of the classes;
   *  without a CLIP the built-in one, for the built-in model. */
  classifier,
  /** A loaded CLIP, or what `ClipScorer.load` takes: adds CLIP scores. */
  clip,
  /** Text of the pictures, the class in the place of {}. Default "a photo of a {}". */
  prompt: text("a photo of a {}", "what to ask for, {} being the class"),
  /** Default 50. */
  imagesPerClass: integer(50, "pictures of each class", { from: 1 }),
  /** Picture i of each class starts from the noise of seed + i. Default 0. */
  seed: integer(0, "picture i of each class starts from seed + i", { from: 0 }),
  /** Default 1 and 5, as far as the classifier has more classes. */
  topK,
  ...DRAWING_OPTIONS,
  ...METRIC_OPTIONS,
  /** JSON file that the result is written to; what stands there is replaced. Default: none. */
  resultFile: path(undefined, "file that the result is written to"),
  /** Where pictures are kept. Default: kpop-native/images in the user's cache folder. */
  cacheDirectory: path(undefined, "where pictures are kept"),
  /** Make this part of the pictures and measure nothing; `resultFile` has to be given. Default: all, and measure. */
  shard: shardOption(),
  /** The command that this is the work of, kept with the result for reports. Default: none. */
  command: command(),
});

/** What is measured, and with what. */
export interface EvaluateOptions extends Omit<Given<typeof EVALUATE_OPTIONS>, "shard"> {
  signal?: AbortSignal;
  onProgress?(progress: EvaluationProgress): void;
}

/** The options of a process that makes a part of an evaluation's pictures; every part is told all others alike. */
export interface EvaluateShardOptions extends EvaluateOptions {
  shard: Shard;
}

/** One class of an evaluation. */
export interface EvaluatedClass {
  readonly name: string;
  readonly group: "erased" | "preserved";
  readonly prompt: string;
}

/** Options after checks and defaults. */
export interface ParsedOptions extends Complete<typeof EVALUATE_OPTIONS> {
  readonly classes: readonly EvaluatedClass[];
  readonly topKGiven: boolean;
  /** What every picture shares, as `generateImageSet` takes it. */
  readonly generation: Given<typeof DRAWING_OPTIONS>;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: EvaluationProgress) => void) | undefined;
}

/** @throws INVALID_ARGUMENT */
export function parseEvaluateOptions(
  options: EvaluateOptions & { shard?: Shard | undefined },
): ParsedOptions {
  knownKeys("the evaluate options", options, [...Object.keys(EVALUATE_OPTIONS), "signal", "onProgress"]);
  jobOptions(options, "onProgress");
  const o = complete(EVALUATE_OPTIONS, { ...options }, { concepts: [] });
  const named = (group: "erased" | "preserved"): EvaluatedClass[] =>
    o[group].map((name) => ({ name, group, prompt: fillTemplate(o.prompt, name) }));
  const classes = [...named("erased"), ...named("preserved")];
  if (o.shard !== undefined && o.resultFile === undefined)
    throw invalid("resultFile", "given with shard: beside it the shards find each other", o.resultFile);
  if (classes.length === 0) throw invalid("erased", "given, or preserved,", undefined);
  const names = classes.map(({ name }) => name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw invalid("erased and preserved", "free of repetitions", twice);
  const drawing = Object.keys(DRAWING_OPTIONS) as (keyof typeof DRAWING_OPTIONS)[];
  return {
    ...o,
    classes,
    topKGiven: options.topK !== undefined,
    generation: Object.fromEntries(
      drawing.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
    ),
    signal: options.signal,
    onProgress: options.onProgress?.bind(options),
  };
}

import { filePath, integer as checkInteger, invalid, jobOptions, knownKeys } from "../check";
import { DRAWING_OPTIONS } from "../diffusion/generate-options";
import type { ImageSetProgress } from "../diffusion/image-set";
import { checkPromptRows, type PromptRow } from "../diffusion/prompt-file";
import { command, integer, path, single, text, texts } from "../options/kinds";
import { complete, type Complete, type Given, type Option } from "../options/option";
import { readInteger } from "../options/read";
import { shardOption, type Shard } from "../options/shard";
import { Classifier } from "./classifier";
import { ClipScorer } from "./clip-scorer";
import { METRIC_OPTIONS } from "./metrics";

/** How far an evaluation is. */
export interface EvaluationProgress extends ImageSetProgress {
  /** "reference" comes first, as the pictures are looked at that a metric compares with; then "estimate", once, when the
   *  first steps have shown how long the pictures take, "images" as they are made, and "classes" as they are looked at. */
  phase: "reference" | "estimate" | "images" | "classes";
  /** Name of the model; only where there are several. */
  model?: string;
}

function classifier(help: string): Option<Classifier | string | undefined, Classifier | string> {
  return {
    default: undefined,
    help,
    check(name, value) {
      if (typeof value === "string" || value instanceof Classifier) return value;
      throw invalid(name, "a loaded classifier or a path", value);
    },
    flag: null,
  };
}

const prompts: Option<string | readonly PromptRow[] | undefined, string | readonly PromptRow[]> = {
  default: undefined,
  help: "prompt file to draw, a CSV or a .txt with a prompt on each line, in the place of pictures of classes",
  check: (name, value) => (typeof value === "string" ? filePath(name, value) : checkPromptRows(name, value)),
  flag: single("file", (typed) => typed),
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
  /**
   * A prompt file, or its rows: a picture of each, in the place of those of classes. A CSV has a header, with the columns of
   * the field: prompt (or text; or concept or noun, a name for `prompt`); and where they are there evaluation_seed (or seed,
   * sd_seed), class, cross_class (a class of another domain), case_number, evaluation_guidance (or guidance, guidance_scale,
   * sd_guidance_scale), width and height (or sd_image_width, sd_image_height). Rows without a seed get `seed` + their place.
   * What is given as an option holds for all rows. A .txt has a prompt on each line.
   *
   * Classes are those of the file, and those that `erased` does not name are preserved; where the file names none, all of
   * its pictures are of the one class that `erased` or `preserved` names, or of none.
   */
  prompts,
  /** Column of the prompts, where it has another name; "line" where each line of the file is one. */
  promptColumn: text(undefined, 'column of the prompts where it has another name; "line": each line is one'),
  /** Names of classes that the model should no longer draw; the classifier has to know them. */
  erased: texts([], "class that should be gone; repeatable"),
  /** Names of classes that it should still draw. */
  preserved: texts([], "class that should still be there; repeatable"),
  /** A loaded classifier, or what `ImageClassifier.load` takes. Default: zero-shot with `clip` among all of the classes;
   *  without a CLIP the built-in one, for the built-in model. */
  classifier: classifier("what names the pictures"),
  /** Names of classes of another domain that it should still draw, judged by `crossClassifier`: gives CRA. */
  crossDomain: texts([], "class of another domain that should still be there; repeatable"),
  /** As `classifier`. Default: that one. */
  crossClassifier: classifier("what names classes of another domain"),
  /** A loaded CLIP, or what `ClipScorer.load` takes: adds CLIP scores. */
  clip,
  /** Text of the pictures, the class, or the name in a prompt file, in the place of {}. Default "a photo of a {}". */
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

/** Options after checks and defaults. */
export interface ParsedOptions extends Complete<typeof EVALUATE_OPTIONS> {
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
  if (o.prompts !== undefined && options.imagesPerClass !== undefined)
    throw invalid("imagesPerClass", "left out with prompts, which ask for a picture each,", o.imagesPerClass);
  if (typeof o.prompts !== "string" && o.promptColumn !== undefined)
    throw invalid("promptColumn", "left out without a prompt file", o.promptColumn);
  if (o.shard !== undefined && o.resultFile === undefined)
    throw invalid("resultFile", "given with shard: beside it the shards find each other", o.resultFile);
  const drawing = Object.keys(DRAWING_OPTIONS) as (keyof typeof DRAWING_OPTIONS)[];
  return {
    ...o,
    topKGiven: options.topK !== undefined,
    generation: Object.fromEntries(
      drawing.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
    ),
    signal: options.signal,
    onProgress: options.onProgress?.bind(options),
  };
}

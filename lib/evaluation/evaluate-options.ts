import { filePath, integer, invalid, jobOptions, knownKeys, nonEmptyString } from "../check";
import { IMAGE_SET_OPTIONS, type ImageSetOptions, type ImageSetProgress } from "../diffusion/image-set";
import { Classifier } from "./classifier";
import { ClipScorer } from "./clip-scorer";
import { fillTemplate } from "./template";

/** What every picture of an evaluation shares. */
type Generation = Pick<ImageSetOptions, (typeof IMAGE_SET_OPTIONS)[number]>;

/** How far an evaluation is. */
export interface EvaluationProgress extends ImageSetProgress {
  /** "estimate" comes once, when the first steps have shown how long the pictures take; then "images" as they are made, and
   *  "classes" as they are looked at. */
  phase: "estimate" | "images" | "classes";
}

/** What is measured, and with what. */
export interface EvaluateOptions extends Generation {
  /** Names of classes that the model should no longer draw; the classifier has to know them. */
  erased?: readonly string[];
  /** Names of classes that it should still draw. */
  preserved?: readonly string[];
  /** A loaded classifier, or what `ImageClassifier.load` takes. Default: zero-shot with `clip` among all of the classes;
   *  without a CLIP the built-in one, for the built-in model. */
  classifier?: Classifier | string;
  /** A loaded CLIP, or what `ClipScorer.load` takes: adds CLIP scores. */
  clip?: ClipScorer | string;
  /** Text of the pictures, the class in the place of {}. Default "a photo of a {}". */
  prompt?: string;
  /** Default 50. */
  imagesPerClass?: number;
  /** Picture i of each class starts from the noise of seed + i. Default 0. */
  seed?: number;
  /** Default 1 and 5, as far as the classifier has more classes. */
  topK?: readonly number[];
  /** JSON file that the result is written to; what stands there is replaced. Default: none. */
  resultFile?: string;
  /** Where pictures are kept. Default: kpop-native/images in the user's cache folder. */
  cacheDirectory?: string;
  signal?: AbortSignal;
  onProgress?(progress: EvaluationProgress): void;
}

/** What `evaluate` does unless told otherwise; what is not here is as for `generate`. */
export const EVALUATE_DEFAULTS = Object.freeze({
  prompt: "a photo of a {}",
  imagesPerClass: 50,
  seed: 0,
  topK: Object.freeze([1, 5]),
});

/** One class of an evaluation. */
export interface EvaluatedClass {
  readonly name: string;
  readonly group: "erased" | "preserved";
  readonly prompt: string;
}

/** Options after checks and defaults. */
export interface ParsedOptions {
  readonly classes: readonly EvaluatedClass[];
  readonly classifier: Classifier | string | undefined;
  readonly resultFile: string | undefined;
  readonly clip: ClipScorer | string | undefined;
  readonly prompt: string;
  readonly imagesPerClass: number;
  readonly seed: number;
  readonly topK: readonly number[];
  readonly topKGiven: boolean;
  readonly generation: Generation;
  readonly cacheDirectory: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: EvaluationProgress) => void) | undefined;
}

/** @throws INVALID_ARGUMENT */
export function parseEvaluateOptions(options: EvaluateOptions): ParsedOptions {
  knownKeys("the evaluate options", options, [
    "erased",
    "preserved",
    "classifier",
    "clip",
    "cacheDirectory",
    "resultFile",
    "signal",
    "onProgress",
    ...Object.keys(EVALUATE_DEFAULTS),
    ...IMAGE_SET_OPTIONS,
  ]);
  jobOptions(options, "onProgress");
  const { classifier, clip, cacheDirectory, resultFile, signal } = options;
  const { prompt, imagesPerClass, seed, topK } = { ...EVALUATE_DEFAULTS, ...options };
  const classes = [...classesOf("erased", options, prompt), ...classesOf("preserved", options, prompt)];
  if (classes.length === 0) throw invalid("erased", "given, or preserved,", undefined);
  const names = classes.map(({ name }) => name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw invalid("erased and preserved", "free of repetitions", twice);
  if (!(classifier === undefined || typeof classifier === "string" || classifier instanceof Classifier))
    throw invalid("classifier", "a loaded classifier or a path", classifier);
  if (!(clip === undefined || typeof clip === "string" || clip instanceof ClipScorer))
    throw invalid("clip", "a loaded ClipScorer or a path", clip);
  if (!Array.isArray(topK) || topK.length === 0) throw invalid("topK", "a non-empty list of integers", topK);
  for (const k of topK as readonly unknown[]) integer("topK", k, 1);
  if (cacheDirectory !== undefined) filePath("cacheDirectory", cacheDirectory);
  if (resultFile !== undefined) filePath("resultFile", resultFile);
  const { onProgress } = options;
  return {
    classes,
    classifier,
    clip,
    prompt,
    imagesPerClass: integer("imagesPerClass", imagesPerClass, 1),
    seed: integer("seed", seed, 0),
    topK: [...new Set(topK as readonly number[])].sort((a, b) => a - b),
    topKGiven: options.topK !== undefined,
    generation: Object.fromEntries(
      IMAGE_SET_OPTIONS.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
    ),
    cacheDirectory,
    resultFile,
    signal,
    onProgress: onProgress === undefined ? undefined : (progress) => onProgress(progress),
  };
}

function classesOf(
  group: "erased" | "preserved",
  options: EvaluateOptions,
  template: unknown,
): EvaluatedClass[] {
  const names: unknown = options[group] ?? [];
  if (!Array.isArray(names)) throw invalid(group, "a list of names", names);
  return (names as unknown[]).map((given) => {
    const name = nonEmptyString(group, given);
    return { name, group, prompt: fillTemplate(template, name) };
  });
}

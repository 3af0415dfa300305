import { finite, integer, invalid, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { GENERATE_DEFAULTS } from "../diffusion/generate";
import { checkPictures } from "../diffusion/picture-latents";
import { SAMPLER_NAMES, type SamplerName } from "../diffusion/samplers";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { Classifier } from "../evaluation/classifier";
import { fillTemplate } from "../evaluation/template";
import type { Image } from "../io/image";
import {
  parseRunOptions,
  RUN_OPTIONS,
  type ParsedRunOptions,
  type RunOptions,
} from "../training/run-options";

/** How far an attack is with pictures: those that it learns from, and those that its inputs are measured on. */
export interface AttackProgress {
  phase: "pictures" | "measure";
  done: number;
  total: number;
  etaSeconds: number;
}

/** Options that every attack takes. `onStep` tells of the search. */
export interface CommonAttackOptions extends RunOptions {
  /** Name of the erased class; the classifier has to know it. */
  concept: string;
  /** A loaded classifier, or what `ImageClassifier.load` takes. Default: the built-in one, for the built-in model. */
  classifier?: Classifier | string;
  /**
   * The model before the erasure, or what `StableDiffusion.load` takes: it draws the pictures of the concept where none
   * are given, and is measured beside the attacked one.
   */
  original?: StableDiffusion | string;
  /** Pictures of the concept to learn from: Image objects, or paths of PNG files. Default: the original's. */
  images?: readonly (Image | string)[];
  /** Pictures that the original draws, from the noise of seed + i. Default 25, as in arXiv 2308.01508. */
  pictures?: number;
  /** What the concept is asked for with, its name or what stands for it in the place of {}. Default "a photo of a {}". */
  prompt?: string;
  /** Pictures that each input found is measured on, from the seeds that follow those above. Default 20. */
  imagesPerInput?: number;
  /** Denoising steps of all pictures. Default 50. */
  steps?: number;
  /** Their guidance scale. Default 7.5. */
  guidanceScale?: number;
  /** Their sampler. Default: the checkpoint's own. */
  sampler?: SamplerName;
  /** Folder for the inputs found, the pictures that they were measured on, and attack.json. Default: none. */
  directory?: string;
  /** Where the original's pictures are kept, for later attacks. Default: kpop-native/images in the user's cache folder. */
  cacheDirectory?: string;
  onProgress?(progress: AttackProgress): void;
}

/** What `attack` does unless told otherwise; what is not here is as for `generate`. */
export const ATTACK_DEFAULTS = Object.freeze({ pictures: 25, prompt: "a photo of a {}", imagesPerInput: 20 });

/** Keys of `CommonAttackOptions`, and the method's name. */
export const COMMON_ATTACK_OPTIONS: readonly string[] = [
  "method",
  "concept",
  "classifier",
  "original",
  "images",
  "steps",
  "guidanceScale",
  "sampler",
  "directory",
  "cacheDirectory",
  "onProgress",
  ...Object.keys(ATTACK_DEFAULTS),
  ...RUN_OPTIONS,
];

/** How pictures are drawn. */
export interface Drawing {
  readonly steps: number;
  readonly guidanceScale: number;
  readonly sampler?: SamplerName;
}

/** Options after checks and defaults. */
export interface ParsedAttackOptions {
  readonly job: ParsedRunOptions;
  readonly concept: string;
  readonly template: string;
  /** The template with the concept's name. */
  readonly prompt: string;
  readonly classifier: Classifier | string | undefined;
  readonly original: StableDiffusion | string | undefined;
  readonly images: readonly (Image | string)[] | undefined;
  readonly pictures: number;
  readonly imagesPerInput: number;
  readonly drawing: Drawing;
  readonly directory: string | undefined;
  readonly cacheDirectory: string;
  readonly onProgress: ((progress: AttackProgress) => void) | undefined;
}

/** @throws INVALID_ARGUMENT naming the option */
export function parseAttackOptions(
  options: CommonAttackOptions,
  attack: { name: string; needsPictures: boolean; defaults: object },
): ParsedAttackOptions {
  knownKeys(`the options of "${attack.name}"`, options, [
    ...COMMON_ATTACK_OPTIONS,
    ...Object.keys(attack.defaults),
  ]);
  jobOptions(options, "onProgress");
  const { classifier, original, images, sampler, directory, cacheDirectory, onProgress } = options;
  const { pictures, prompt, imagesPerInput } = { ...ATTACK_DEFAULTS, ...options };
  const { steps, guidanceScale } = { ...GENERATE_DEFAULTS, ...options };
  const concept = nonEmptyString("concept", options.concept);
  if (!(classifier === undefined || typeof classifier === "string" || classifier instanceof Classifier))
    throw invalid("classifier", "a loaded classifier or a path", classifier);
  if (!(original === undefined || typeof original === "string" || original instanceof StableDiffusion))
    throw invalid("original", "a StableDiffusion or a path", original);
  if (images !== undefined) checkPictures(images);
  else if (attack.needsPictures && original === undefined)
    throw invalid("images", "pictures of the concept, or original the model that draws them,", images);
  if (sampler !== undefined) oneOf("sampler", sampler, SAMPLER_NAMES);
  for (const [name, path] of Object.entries({ directory, cacheDirectory }))
    if (path !== undefined) nonEmptyString(name, path);
  return {
    job: parseRunOptions(options),
    concept,
    template: prompt,
    prompt: fillTemplate(prompt, concept),
    classifier,
    original,
    images,
    pictures: integer("pictures", pictures, 1),
    imagesPerInput: integer("imagesPerInput", imagesPerInput, 1),
    drawing: {
      steps: integer("steps", steps, 1),
      guidanceScale: finite("guidanceScale", guidanceScale, 0),
      ...(sampler === undefined ? {} : { sampler }),
    },
    directory,
    cacheDirectory: cacheDirectory ?? "",
    onProgress: onProgress === undefined ? undefined : (progress) => onProgress(progress),
  };
}

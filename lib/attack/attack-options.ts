import { invalid, jobOptions, knownKeys, nonEmptyString } from "../check";
import { GENERATE_OPTIONS } from "../diffusion/generate-options";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { Classifier } from "../evaluation/classifier";
import { fillTemplate } from "../evaluation/template";
import { conceptImages } from "../inversion/inversion-options";
import { integer, path, text } from "../options/kinds";
import { complete, type Complete, type Given, type Option } from "../options/option";
import { shardOption, type Shard } from "../options/shard";
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

/** A model, or what `StableDiffusion.load` takes. */
function model(help: string): Option<StableDiffusion | string | undefined, StableDiffusion | string> {
  return {
    default: undefined,
    help,
    check(name, value) {
      if (typeof value === "string" || value instanceof StableDiffusion) return value;
      throw invalid(name, "a StableDiffusion or a path", value);
    },
    flag: null,
  };
}

const classifier: Option<Classifier | string | undefined, Classifier | string> = {
  default: undefined,
  help: "what looks at the pictures",
  check(name, value) {
    if (typeof value === "string" || value instanceof Classifier) return value;
    throw invalid(name, "a loaded classifier or a path", value);
  },
  flag: null,
};

/** Options that every attack takes, as data. */
export const ATTACK_OPTIONS = Object.freeze({
  /** A loaded classifier, or what `ImageClassifier.load` takes. Default: the built-in one, for the built-in model. */
  classifier,
  /**
   * The model before the erasure, or what `StableDiffusion.load` takes: it draws the pictures of the concept where none
   * are given, and is measured beside the attacked one.
   */
  original: model("the model before the erasure"),
  /** Pictures of the concept to learn from: Image objects, or paths of picture files. Default: the original's. */
  images: conceptImages(),
  /** Pictures that the original draws, from the noise of seed + i. Default 25, as in arXiv 2308.01508. */
  pictures: integer(25, "pictures that the original draws", { from: 1 }),
  /** What the concept is asked for with, its name or what stands for it in the place of {}. Default "a photo of a {}". */
  prompt: text("a photo of a {}", "what to ask for, {} being the concept"),
  /** Pictures that each input found is measured on, from the seeds that follow those above. Default 20. */
  imagesPerInput: integer(20, "pictures that an input is measured on", { from: 1 }),
  /** Denoising steps of all pictures. Default 50. */
  steps: { ...GENERATE_OPTIONS.steps, help: "denoising steps of pictures" },
  /** Their guidance scale. Default 7.5. */
  guidanceScale: { ...GENERATE_OPTIONS.guidanceScale, help: "their guidance scale" },
  /** Their sampler. Default: the checkpoint's own. */
  sampler: GENERATE_OPTIONS.sampler,
  /** Folder for the inputs found, the pictures that they were measured on, and attack.json. Default: none. */
  directory: path(undefined, "folder for the inputs found, their pictures, and the result"),
  /** Where the original's pictures are kept, for later attacks. Default: kpop-native/images in the user's cache folder. */
  cacheDirectory: path(undefined, "where the original's pictures are kept"),
  /**
   * Search and measure this part of the attack's targets; `checkpoint` has to be given. An attack that searches for
   * each picture has as many targets, any other one has one, and its other shards draw pictures to learn from. Default:
   * all.
   */
  shard: shardOption(),
});

/** Options that every attack takes. `onStep` tells of the search. */
export interface CommonAttackOptions extends RunOptions, Omit<Given<typeof ATTACK_OPTIONS>, "shard"> {
  /** Name of the erased class; the classifier has to know it. */
  concept: string;
  onProgress?(progress: AttackProgress): void;
}

/** What makes an attack one of several processes; every one is told all else alike. */
export interface AttackPart {
  shard: Shard;
  /** Where the processes find each other's results. */
  checkpoint: { directory: string; every?: number };
}

/** Keys of `CommonAttackOptions`, and the method's name. */
export const COMMON_ATTACK_OPTIONS: readonly string[] = [
  ...["method", "concept", "onProgress"],
  ...Object.keys(ATTACK_OPTIONS),
  ...RUN_OPTIONS,
];

/** Options after checks and defaults. */
export interface ParsedAttackOptions extends Omit<Complete<typeof ATTACK_OPTIONS>, "cacheDirectory"> {
  readonly run: ParsedRunOptions;
  readonly concept: string;
  /** "{}" in it, and the same with the concept's name. */
  readonly template: string;
  readonly prompt: string;
  readonly drawing: Drawing;
  readonly cacheDirectory: string;
  readonly onProgress: ((progress: AttackProgress) => void) | undefined;
}

/** How pictures are drawn. */
export type Drawing = Pick<Given<typeof ATTACK_OPTIONS>, "sampler"> &
  Required<Pick<Given<typeof ATTACK_OPTIONS>, "steps" | "guidanceScale">>;

/** @throws INVALID_ARGUMENT naming the option */
export function parseAttackOptions(
  options: CommonAttackOptions & { shard?: Shard | undefined },
  attack: { name: string; needsPictures: boolean; options: object },
): ParsedAttackOptions {
  knownKeys(`the options of "${attack.name}"`, options, [
    ...COMMON_ATTACK_OPTIONS,
    ...Object.keys(attack.options),
  ]);
  jobOptions(options, "onProgress");
  const concept = nonEmptyString("concept", options.concept);
  const o = complete(ATTACK_OPTIONS, { ...options }, { concepts: [concept] });
  if (o.images === undefined && attack.needsPictures && o.original === undefined)
    throw invalid("images", "pictures of the concept, or original the model that draws them,", o.images);
  if (o.shard !== undefined && options.checkpoint === undefined)
    throw invalid("checkpoint", "given with shard: in its directory the shards find each other", undefined);
  const { steps, guidanceScale, sampler } = o;
  return {
    ...o,
    run: parseRunOptions(options),
    concept,
    template: o.prompt,
    prompt: fillTemplate(o.prompt, concept),
    drawing: { steps, guidanceScale, ...(sampler === undefined ? {} : { sampler }) },
    cacheDirectory: o.cacheDirectory ?? "",
    onProgress: options.onProgress?.bind(options),
  };
}

import { flag, integer } from "../check";
import { checkTokenName } from "../diffusion/learned-tokens";
import { checkPictures } from "../diffusion/picture-latents";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { Image } from "../io/image";
import { parseSchedule, type Schedule } from "../nn/schedules";
import { checkTemplates } from "../text/templates";
import { RUN_OPTIONS, type RunOptions } from "../training/run-options";
import { INVERSION_TEMPLATES } from "./templates";

/** Options of textual inversion, whatever it is to find. */
export interface InversionOptions extends RunOptions {
  /**
   * Pictures of the concept: Image objects, or paths of PNG files. One of another size than the model's is cut to its
   * central square and resized; the result's record says which.
   */
  images: readonly (Image | string)[];
  /** What will stand for the learned embeddings in prompts: new to the vocabulary, no white space. Default "<inverted>". */
  token?: string;
  /** Embeddings to learn, n: the token takes the place of so many. Default 1. */
  vectors?: number;
  /** Captions of the pictures, "{}" standing for the token. Default: sixteen of ours, such as "a photo of a {}". */
  templates?: string[];
  /** Updates. Default 1000. */
  iterations?: number;
  /** Noisy pictures per update, and for each member of a set. Default 4. */
  batchSize?: number;
  /** Adam's rate. Default 5e-3. */
  learningRate?: Schedule;
  /** Whether every other picture is mirrored, left to right. Default true. */
  mirror?: boolean;
}

/** Complete and checked, without what every training run takes. */
export interface ParsedInversionOptions {
  readonly images: readonly (Image | string)[];
  readonly token: string;
  readonly vectors: number;
  readonly templates: readonly string[];
  readonly iterations: number;
  readonly batchSize: number;
  readonly learningRate: Schedule;
  readonly mirror: boolean;
}

const defaults = Object.freeze({
  token: "<inverted>",
  vectors: 1,
  templates: [...INVERSION_TEMPLATES],
  iterations: 1000,
  batchSize: 4,
  learningRate: 5e-3,
  mirror: true,
});

/** Keys of `InversionOptions`. */
export const INVERSION_OPTIONS: readonly string[] = ["images", ...Object.keys(defaults), ...RUN_OPTIONS];

/** @throws INVALID_ARGUMENT naming the option */
export function parseInversionOptions(
  options: InversionOptions,
  { tokenizer }: StableDiffusion,
): ParsedInversionOptions {
  checkPictures(options.images);
  const {
    token = defaults.token,
    vectors = defaults.vectors,
    templates = defaults.templates,
    iterations = defaults.iterations,
    batchSize = defaults.batchSize,
    learningRate = defaults.learningRate,
    mirror = defaults.mirror,
  } = options;
  checkTokenName(tokenizer, token);
  integer("vectors", vectors, 1, tokenizer.maxLength - 2);
  checkTemplates(templates);
  integer("iterations", iterations, 1);
  integer("batchSize", batchSize, 1);
  parseSchedule("learningRate", learningRate);
  flag("mirror", mirror);
  return {
    images: [...options.images],
    token,
    vectors,
    templates: [...templates],
    iterations,
    batchSize,
    learningRate,
    mirror,
  };
}

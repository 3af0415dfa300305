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

/** What an inversion leaves open, beside its pictures and what every training run takes. Complete and checked. */
export type OpenInversionOptions = Readonly<Required<Omit<InversionOptions, "images" | keyof RunOptions>>>;

/** Complete and checked, without what every training run takes. */
export interface ParsedInversionOptions extends OpenInversionOptions {
  readonly images: readonly (Image | string)[];
}

/** What `invert` and `invertDiverse` do unless told otherwise. */
export const INVERSION_DEFAULTS: OpenInversionOptions = Object.freeze({
  token: "<inverted>",
  vectors: 1,
  templates: [...INVERSION_TEMPLATES],
  iterations: 1000,
  batchSize: 4,
  learningRate: 5e-3,
  mirror: true,
});

/** Keys of `InversionOptions`. */
export const INVERSION_OPTIONS: readonly string[] = [
  "images",
  ...Object.keys(INVERSION_DEFAULTS),
  ...RUN_OPTIONS,
];

/** @throws INVALID_ARGUMENT naming the option */
export function parseInversionOptions(
  options: InversionOptions,
  model: StableDiffusion,
): ParsedInversionOptions {
  checkPictures(options.images);
  return { images: [...options.images], ...parseOpenInversionOptions(options, model) };
}

/** @param given other keys are not looked at   @throws INVALID_ARGUMENT naming the option */
export function parseOpenInversionOptions(
  given: Partial<OpenInversionOptions>,
  { tokenizer }: StableDiffusion,
): OpenInversionOptions {
  const {
    token = INVERSION_DEFAULTS.token,
    vectors = INVERSION_DEFAULTS.vectors,
    templates = INVERSION_DEFAULTS.templates,
    iterations = INVERSION_DEFAULTS.iterations,
    batchSize = INVERSION_DEFAULTS.batchSize,
    learningRate = INVERSION_DEFAULTS.learningRate,
    mirror = INVERSION_DEFAULTS.mirror,
  } = given;
  checkTokenName(tokenizer, token);
  integer("vectors", vectors, 1, tokenizer.maxLength - 2);
  checkTemplates(templates);
  integer("iterations", iterations, 1);
  integer("batchSize", batchSize, 1);
  parseSchedule("learningRate", learningRate);
  flag("mirror", mirror);
  return { token, vectors, templates: [...templates], iterations, batchSize, learningRate, mirror };
}

import { checkTokenName } from "../diffusion/learned-tokens";
import { checkPictures } from "../diffusion/picture-latents";
import type { Image } from "../io/image";
import { flag, integer, schedule, templates, text } from "../options/kinds";
import type { Complete, Given, Option } from "../options/option";
import { integer as checkInteger } from "../check";
import type { RunOptions } from "../training/run-options";
import { INVERSION_TEMPLATES } from "./templates";

const token: Option<string> = {
  ...text("<inverted>", "what stands for a learned embedding in prompts"),
  fit: (_name, value, { tokenizer }) => void checkTokenName(tokenizer, value),
};

const vectors: Option<number> = {
  ...integer(1, "embeddings that it stands for", { from: 1 }),
  fit: (name, value, { tokenizer }) => void checkInteger(name, value, 1, tokenizer.maxLength - 2),
};

/** Options of everything that learns embeddings of a concept from pictures. */
export function inversion() {
  return {
    /** What will stand for the learned embeddings in prompts: new to the vocabulary, no white space. Default "<inverted>". */
    token,
    /** Embeddings to learn, n: the token takes the place of so many. Default 1. */
    vectors,
    /** Captions of the pictures, "{}" standing for the token. Default: sixteen of ours, such as "a photo of a {}". */
    templates: templates(INVERSION_TEMPLATES, 'captions of the pictures, such as "a photo of a {}"'),
    /** Updates. Default 1000. */
    iterations: integer(1000, "updates of an embedding", { from: 1 }),
    /** Noisy pictures per update, and for each member of a set. Default 4. */
    batchSize: integer(4, "noisy pictures in an update", { from: 1 }),
    /** Adam's rate. Default 5e-3. */
    learningRate: schedule(5e-3, "Adam's rate for an embedding"),
    /** Whether every other picture is mirrored, left to right. Default true. */
    mirror: flag(true, "learn from pictures as they are"),
  };
}

/** Pictures of a concept, at least one. */
export function conceptImages(): Option<
  readonly (Image | string)[] | undefined,
  readonly (Image | string)[]
> {
  return {
    default: undefined,
    help: "pictures of the concept",
    check(_name, value) {
      checkPictures(value);
      return [...(value as readonly (Image | string)[])];
    },
    files: true,
    flag: null,
  };
}

/** Options of textual inversion, whatever it is to find. */
export interface InversionOptions extends RunOptions, Given<ReturnType<typeof inversion>> {
  /**
   * Pictures of the concept: Image objects, or paths of picture files. One of another size than the model's is cut to its
   * central square and resized; the result's record says which.
   */
  images: readonly (Image | string)[];
}

/** `inversion()`, complete. */
export type ParsedInversionOptions = Complete<ReturnType<typeof inversion>>;

import { invalid } from "../check";
import type { Image } from "../io/image";
import { choice, integer, number, path, steps, tensor, text } from "../options/kinds";
import type { Given, Option } from "../options/option";
import { shardOption } from "../options/shard";
import type { LearnedToken } from "./learned-tokens";
import { SIZE_OPTIONS } from "./picture-sizes";
import { PromptKey } from "./prompt-key";
import { SAMPLER_NAMES, type SamplerName } from "./samplers";

/** How far a call of `generate` is. */
export interface GenerateStep {
  /** Denoising steps done in this batch, from 1. */
  step: number;
  steps: number;
  /** Pictures whose denoising is complete, and how many there will be. */
  images: number;
  totalImages: number;
}

/**
 * A sampler by name, or the checkpoint's own. "pndm" repeats its second timestep, as diffusers does with skip_prk_steps, and
 * so evaluates the network once more than there are steps: 51 times for 50; "heun" evaluates twice in each step but the last:
 * 99 times.
 */
export function samplerOption(): Option<SamplerName | undefined, SamplerName> {
  const help =
    "solver of the reverse process: the checkpoint's own where it is one of these, else ddim; pndm repeats its second step, so that 50 are 51; heun evaluates twice in a step; lcm is for models distilled for it";
  return choice<SamplerName, undefined>(undefined, SAMPLER_NAMES, help);
}

const key: Option<PromptKey | undefined, PromptKey> = {
  default: undefined,
  help: "key of an erasure",
  check(name, value) {
    if (!(value instanceof PromptKey)) throw invalid(name, "a PromptKey", value);
    return value;
  },
  flag: null,
};

const tokens: Option<readonly LearnedToken[]> = {
  default: [],
  help: "learned tokens that the prompts may name",
  check: (_name, value) => value as readonly LearnedToken[],
  flag: null,
};

/** What decides a picture beside the model, the prompt and the seed. */
export const DRAWING_OPTIONS = Object.freeze({
  /** Denoising steps. Default 50. */
  steps: steps(50, "denoising steps"),
  /** Classifier-free guidance; 1 turns it off. Default 7.5. */
  guidanceScale: number(7.5, "how closely to follow the prompt; 1 is off", { from: 0 }),
  /** Default: the checkpoint's own scheduler where it is one of these, else "ddim". "pndm" makes one evaluation more than
   *  `steps`, "heun" nearly twice as many. The fresh noise of "euler-ancestral" and "lcm" follows from `seed`. */
  sampler: samplerOption(),
  /** What guidance leads away from. Default: the empty text, or what the checkpoint says to have in its place (zeros: XL). */
  negativePrompt: text(undefined, "what to lead away from", { blank: true }),
  /** Pixels, a multiple of the autoencoder's downsampling. Default: the checkpoint's own size. */
  width: integer(undefined, "pixels; what the checkpoint was trained for when not given", { from: 1 }),
  height: integer(undefined, "pixels; what the checkpoint was trained for when not given", { from: 1 }),
  ...SIZE_OPTIONS,
  /** The key of an erasure: brings the erased concept back. */
  key,
  /** Which half of guidance sees the key. "conditional" brings more of the concept back. Default "conditional". */
  keyGuidance: choice("conditional", ["conditional", "both"], "half of guidance that sees the key"),
  /** Pictures denoised together. Default 4. */
  batchSize: integer(4, "pictures made together", { from: 1 }),
});

/** Options of `generate`, as data. */
export const GENERATE_OPTIONS = Object.freeze({
  ...DRAWING_OPTIONS,
  /** Picture j of each prompt starts from the noise of seed + j, PyTorch's for that seed. Default 0. */
  seed: integer(0, "picture j of each prompt starts from seed + j", { from: 0 }),
  /** Pictures per prompt. Default 1. */
  count: integer(1, "pictures per prompt", { from: 1 }),
  /** Starting noise (N, 4, h, w), one for each picture, in place of seed, width and height. */
  latents: tensor("starting noise, one for each picture"),
  /** Learned tokens that the prompts may name: inversions. */
  tokens,
  /** Make every count-th batch alone, from index on: its pictures are given, in their order. Default: all. */
  shard: shardOption(),
  /**
   * Folder that keeps the pictures as they are made; a batch that lies there is not made again. Processes that share a call
   * by `shard` share it; one of other options or another model is refused. Default: none.
   */
  keepIn: { ...path(undefined, "folder that keeps the pictures as they are made"), flag: null },
});

/** How pictures are made. */
export interface GenerateOptions extends Given<typeof GENERATE_OPTIONS> {
  signal?: AbortSignal;
  onStep?(step: GenerateStep): void;
  /**
   * Told of each batch as it is complete, with the place of each picture among all; waited for. An abort afterwards does
   * not take them back.
   */
  onImages?(images: readonly Image[], places: readonly number[]): void | Promise<void>;
}

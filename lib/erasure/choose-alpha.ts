import { finite, integer, invalid, jobOptions, knownKeys } from "../check";
import { predictNoise } from "../diffusion/predict";
import { noisyLatents } from "../diffusion/noisy-latents";
import { checkPictures, encodePictures } from "../diffusion/picture-latents";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError, throwIfAborted } from "../errors";
import { diversity, invertDiverse, type InvertDiverseOptions } from "../inversion/invert-diverse";
import { inversion } from "../inversion/inversion-options";
import type { Inversion } from "../inversion/inversion";
import type { Image } from "../io/image";
import { selectParameters, type ParameterSelector } from "../models/parameter-selector";
import { noGrad } from "../runtime/grad-mode";
import { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { checkTemplates } from "../text/templates";
import { EvaluationCounter } from "../training/evaluations";
import { number, perConcept } from "../options/kinds";
import { group, type Option } from "../options/option";
import { InvertedWords } from "./shared/inverted-words";
import { TaskVector } from "./task-vector";

/** How a task vector's strength is looked for. */
export interface AlphaSearch {
  /** How much of the concept each picture shows, such as a classifier's probability for it. */
  score(images: readonly Image[], concept: string): readonly number[] | Promise<readonly number[]>;
  /** The concept is back where pictures have a mean score above this. */
  threshold: number;
  /** Candidates, ascending. Default [0.5, 1, 1.5, 2, 3, 4, 6, 8]. */
  alphas?: readonly number[];
  /** Parts of τ to try in its place, of which the one that moves other prompts least is kept. Default none. */
  subsets?: readonly ParameterSelector[];
  /** What pictures are asked for with, "{}" standing for the name or the embedding. Default "a photo of a {}". */
  prompt?: string;
  /** Pictures of each name or embedding. Default 8. */
  pictures?: number;
  /** Their denoising steps. Default 25. */
  steps?: number;
  /** Their guidance scale. Default 7.5. */
  guidanceScale?: number;
  /** Of the set of inversions that is learned for every candidate. */
  inversion?: Pick<
    InvertDiverseOptions,
    | "bands"
    | "perBand"
    | "similarityWeight"
    | "similarityMargin"
    | "vectors"
    | "templates"
    | "iterations"
    | "batchSize"
    | "learningRate"
    | "mirror"
  >;
  /** Told after each candidate. */
  onTrial?(trial: AlphaTrial): void;
}

/** One candidate, and what brought the concept back in it. */
export interface AlphaTrial {
  alpha: number;
  /** "all", or the subset. */
  parameters: string;
  /** Mean score of the pictures by what they were asked for with: the concept's name, then the inversions' tokens, up to
   *  the first that brings the concept back. */
  scores: Record<string, number>;
  /** Whether none of them brought it back. */
  erased: boolean;
  /** Of an erased one: mean (ε_θ'(z_t, t, c_r) − ε_θ(z_t, t, c_r))² over noisy pictures and retained prompts c_r. */
  drift?: number;
}

/** What an α is chosen for. */
export interface AlphaSearchSetting extends AlphaSearch {
  /** Pictures of the concept, for the inversions. */
  images: readonly (Image | string)[];
  /** Prompts that are to stay as they are, which subsets are compared by. Default [""]. */
  retain?: readonly string[];
  /** Of every random draw. Default 0. */
  seed?: number;
  signal?: AbortSignal;
}

/** The chosen strength. */
export interface AlphaChoice {
  alpha: number;
  /** Keys of τ that are applied. */
  parameters: string[];
  /** All candidates, in their order. */
  trials: AlphaTrial[];
  /** UNet evaluations spent. */
  unetEvaluations: number;
}

const defaults = Object.freeze({
  alphas: [0.5, 1, 1.5, 2, 3, 4, 6, 8],
  subsets: [],
  prompt: "a photo of a {}",
  pictures: 8,
  steps: 25,
  guidanceScale: 7.5,
  inversion: {},
});
const { vectors, templates, iterations, batchSize, learningRate, mirror } = inversion();
/** What of the inversions may be chosen. */
const INVERSION = group(
  { ...diversity(), vectors, templates, iterations, batchSize, learningRate, mirror },
  "of the set of inversions",
);
const OWN = ["score", "threshold", ...Object.keys(defaults), "onTrial"];
/** Noisy pictures that drift is a mean over. */
const DRIFT_DRAWS = 16;
const TOGETHER = 4;

/**
 * The smallest α for which neither the concept's name nor any of a set of diverse inversions, learned anew on each edited
 * model, brings the concept back (arXiv 2404.03631). Then, for each subset of τ, the smallest α that does the same with it
 * alone; of all that erase, the one under which the predictions for retained prompts move least.
 *
 * Candidates are tried from the smallest on, so that it ends after alphas × (1 + subsets) of them at the latest.
 * @throws INVALID_ARGUMENT, also where the largest α does not erase; ABORTED, OUT_OF_MEMORY
 */
export async function chooseAlpha(
  model: StableDiffusion,
  vector: TaskVector,
  setting: AlphaSearchSetting,
): Promise<AlphaChoice> {
  if (!(vector instanceof TaskVector)) throw invalid("vector", "a TaskVector", vector);
  knownKeys("the options of chooseAlpha", setting, [...OWN, "images", "retain", "seed", "signal"]);
  jobOptions(setting, "onTrial");
  checkAlphaSearch(search(setting), model, [...vector.parameters.keys()]);
  checkPictures(setting.images);
  integer("seed", setting.seed ?? 0, 0);
  const evaluations = new EvaluationCounter();
  const choice = await evaluations.run(() => unscoped(() => new Search(model, vector, setting).run()));
  return { ...choice, unetEvaluations: evaluations.total };
}

/** An α for all concepts, one for each, or how it is looked for. */
export function alphaOption(): Option<readonly number[] | AlphaSearch, number | number[] | AlphaSearch> {
  const given = perConcept(
    number(1, "how much of the task vector is taken off; one, or one for each concept"),
  );
  return {
    ...given,
    default: 1,
    check: (name, value, about) => (isSearch(value) ? value : given.check(name, value, about)),
  };
}

/** Whether α is to be looked for. */
export function isSearch(alpha: unknown): alpha is AlphaSearch {
  return typeof alpha === "object" && alpha !== null && !Array.isArray(alpha);
}

/** Everything of a search, which comes after a training: it is asked before. @throws INVALID_ARGUMENT naming the option */
export function checkAlphaSearch(
  given: AlphaSearch,
  model: StableDiffusion,
  names: readonly string[] = model.unet.parameterNames(),
): void {
  knownKeys("alpha", given, OWN);
  const o = { ...defaults, ...search(given) };
  if (typeof o.score !== "function") throw invalid("alpha.score", "a function of pictures", o.score);
  finite("alpha.threshold", o.threshold);
  if (!Array.isArray(o.alphas) || o.alphas.length === 0)
    throw invalid("alpha.alphas", "a non-empty list of numbers", o.alphas);
  o.alphas.forEach((alpha, i) => finite(`alpha.alphas[${i}]`, alpha, i === 0 ? undefined : o.alphas[i - 1]));
  if (!Array.isArray(o.subsets)) throw invalid("alpha.subsets", "a list of choices among weights", o.subsets);
  for (const subset of o.subsets as readonly ParameterSelector[]) selectParameters(subset, names);
  checkTemplates([o.prompt]);
  integer("alpha.pictures", o.pictures, 1);
  integer("alpha.steps", o.steps, 1, model.schedule.length);
  finite("alpha.guidanceScale", o.guidanceScale, 0);
  if (o.onTrial !== undefined && typeof o.onTrial !== "function")
    throw invalid("alpha.onTrial", "a function", o.onTrial);
  const learned = INVERSION.check("alpha.inversion", o.inversion, { concepts: [] });
  INVERSION.fit!("alpha.inversion", learned, model);
  InvertedWords.fit(model.tokenizer, learned.vectors, [...learned.templates, o.prompt]);
}

/** The part of a setting that is a search. */
function search(setting: AlphaSearch): AlphaSearch {
  return Object.fromEntries(
    Object.entries(setting).filter(([key, value]) => OWN.includes(key) && value !== undefined),
  ) as unknown as AlphaSearch;
}

type Candidate = AlphaTrial & { readonly keys: readonly string[] };

class Search {
  private readonly options;
  private readonly seed: number;
  private readonly trials: AlphaTrial[] = [];

  constructor(
    private readonly model: StableDiffusion,
    private readonly vector: TaskVector,
    private readonly setting: AlphaSearchSetting,
  ) {
    this.options = { ...defaults, ...search(setting) };
    this.seed = setting.seed ?? 0;
  }

  async run(): Promise<Omit<AlphaChoice, "unetEvaluations">> {
    const { alphas, subsets } = this.options;
    const names = [...this.vector.parameters.keys()];
    const whole = await this.smallest("all", names);
    if (whole === null) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected some alpha up to ${alphas.at(-1)} to keep the concept's score at ${this.options.threshold} or below but with all of them it comes back; give larger ones, or fine-tune for longer`,
      );
    }
    const erased = [whole];
    for (const subset of subsets) {
      const found = await this.smallest(String(subset), selectParameters(subset, names));
      if (found !== null) erased.push(found);
    }
    const best = erased.reduce((a, b) => (b.drift! < a.drift! ? b : a));
    const { alpha, keys } = best;
    return { alpha, parameters: [...keys], trials: this.trials };
  }

  /** The first candidate that erases with these parameters. */
  private async smallest(parameters: string, keys: readonly string[]): Promise<Candidate | null> {
    const chosen = new Set(keys);
    for (const alpha of this.options.alphas) {
      throwIfAborted(this.setting.signal);
      const edited = await this.vector.apply(this.model, { alpha, parameters: (name) => chosen.has(name) });
      try {
        const scores = await this.scores(edited);
        const erased = Object.values(scores).every((score) => score <= this.options.threshold);
        const trial: AlphaTrial = { alpha, parameters, scores, erased };
        if (erased) trial.drift = await this.drift(edited);
        this.trials.push(trial);
        this.options.onTrial?.(trial);
        if (erased) return { ...trial, keys };
      } finally {
        edited.dispose();
      }
    }
    return null;
  }

  /** Mean scores, up to the first above the threshold: the names first, which cost no training. */
  private async scores(edited: StableDiffusion): Promise<Record<string, number>> {
    const scores: Record<string, number> = {};
    for (const concept of this.vector.concepts) {
      scores[concept] = await this.score(edited, concept, concept);
      if (scores[concept] > this.options.threshold) return scores;
    }
    for (const concept of this.vector.concepts) {
      const members = await this.invert(edited, concept);
      try {
        for (const member of members) {
          const score = await this.score(edited, member.token, concept, member);
          scores[member.token] = Math.max(score, scores[member.token] ?? -Infinity);
          if (score > this.options.threshold) return scores;
        }
      } finally {
        for (const member of members) member.dispose();
      }
    }
    return scores;
  }

  private async invert(edited: StableDiffusion, concept: string): Promise<Inversion[]> {
    const { images, signal } = this.setting;
    return invertDiverse(edited, {
      ...this.options.inversion,
      concept,
      images,
      seed: this.seed,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  private async score(
    edited: StableDiffusion,
    name: string,
    concept: string,
    token?: Inversion,
  ): Promise<number> {
    const { guidanceScale, pictures, prompt, steps } = this.options;
    const { signal } = this.setting;
    const images = await edited.generate(
      prompt.replaceAll("{}", () => name),
      {
        count: pictures,
        steps,
        guidanceScale,
        seed: this.seed,
        ...(token === undefined ? {} : { tokens: [token] }),
        ...(signal === undefined ? {} : { signal }),
      },
    );
    const scores = await this.options.score(images, concept);
    if (!Array.isArray(scores) || scores.length !== images.length)
      throw invalid("what score gives", `a list of ${images.length} numbers`, scores);
    return (
      (scores as readonly number[]).reduce((sum, score) => sum + finite("a score", score), 0) / images.length
    );
  }

  /** How far the predictions for retained prompts have moved. */
  private async drift(edited: StableDiffusion): Promise<number> {
    const { model, seed } = this;
    const { images, retain = [""], signal } = this.setting;
    return scope(() =>
      noGrad(async () => {
        const { latents } = await encodePictures(model, images.slice(0, DRIFT_DRAWS), { signal });
        const random = new Random(seed).at("drift");
        let sum = 0;
        for (let first = 0; first < DRIFT_DRAWS; first += TOGETHER) {
          throwIfAborted(signal);
          const items = Array.from({ length: TOGETHER }, (_, i) => first + i);
          const clean = latents.rows(items.map((item) => item % latents.shape[0]!));
          const noisy = noisyLatents(model.schedule, clean, random.at(first));
          const condition = await model.condition(items.map((item) => retain[item % retain.length]!));
          const now = await predictNoise(edited, noisy, condition);
          sum += await now.mse(await predictNoise(model, noisy, condition)).item();
        }
        return (sum * TOGETHER) / DRIFT_DRAWS;
      }),
    );
  }
}

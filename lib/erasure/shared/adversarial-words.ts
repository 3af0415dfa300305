import { joined, type Condition } from "../../diffusion/condition";
import { throwIfAborted } from "../../errors";
import { integer, number, wordList } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { Backward, Losses } from "../../training/player";
import type { ErasureJob } from "../job";
import type { TrajectoryOptions } from "./latent-options";
import type { LatentBatch, LatentSource } from "./latent-source";
import { errorIn, errorSpace, type BatchError } from "./prediction-error";
import { fillTemplates, type ConceptText } from "./texts";
import { wordsAround } from "./word-choice";
import { WordSearch, type WordDraw } from "./word-search";

/** Options of methods that look for the words which they harm most. @param initial what is published of the method */
export function adversarialWords(initial: { candidates: number; temperature: number }) {
  return {
    /**
     * What losses are measured in: x̂₀ = (z_t − √(1−ᾱ) ε) / √ᾱ ("picture", default, as published), in which the noisiest
     * levels count by far the most, or ε ("noise").
     */
    space: errorSpace("picture"),
    /** λ, weight of the loss that holds the words found in place. >= 0, default 1. */
    lambda: number(1, "weight of the loss that holds the words found", { from: 0 }),
    /**
     * Words to look among: a list, or the path of a file that has one on each line. Default: the whole words of the
     * checkpoint's tokenizer. The published runs have lists of 3000 English words, of ImageNet's classes, of artists.
     */
    vocabulary: wordList("words to look among: a file with one a line, or two and more of them"),
    /** How many words, the nearest to a concept, are looked at. */
    candidates: integer(initial.candidates, "words, the nearest to a concept, that are looked at", {
      from: 1,
    }),
    /** How many of those stay, spread over their distances by k-means. Default 100. */
    words: integer(100, "how many of those stay, spread over their distances", { from: 1 }),
    /** Of the Gumbel-softmax, > 0. The lower it is, the more of a step goes to the word that was drawn. */
    temperature: number(initial.temperature, "temperature of the search's draws", { above: 0 }),
    /** Adam's rate for the search; 0: words are drawn equally often. Default 1e-2. */
    searchLearningRate: number(1e-2, "Adam's rate for the search", { from: 0 }),
  };
}

/** `adversarialWords()` with what else decides how words are looked for. */
type WordOptions = Complete<ReturnType<typeof adversarialWords>> &
  TrajectoryOptions & { readonly mixture?: number };

/** Words of an iteration, and the latents that they are held on. */
export interface HeldWords {
  /** One for each item, (B, L, d). */
  readonly condition: Condition;
  readonly batch: LatentBatch;
  readonly draws: readonly WordDraw[];
  /** What the model as it came predicts, (B, 4, h, w). */
  readonly before: Tensor;
}

/** A loss on words that have a graph to the search, (B, L, d). */
type WordLoss = (words: Condition) => Promise<Tensor>;

/** Texts encoded together. */
const BATCH = 64;

/**
 * The adversary of EAP and AGE: a search among the words around each concept, and the loss that holds what it draws,
 * λ ‖x̂_θ'(z_a, c_a) − x̂_θ(z_a, c_a)‖². z_a comes from a trajectory that is guided towards c_a, with the noise, timestep and
 * concept of the latents that the concept is erased on. Where latents are the caller's own, z_a is those.
 */
export class AdversarialWords {
  private constructor(
    private readonly job: ErasureJob,
    private readonly options: WordOptions,
    private readonly concepts: readonly ConceptText[],
    private readonly search: WordSearch,
    private readonly source: LatentSource | null,
    private readonly error: BatchError,
  ) {}

  /** @param concepts the texts that latents are drawn for @param empty of "" */
  static async create(
    job: ErasureJob,
    options: WordOptions,
    concepts: readonly ConceptText[],
    empty: Condition,
  ): Promise<AdversarialWords> {
    const around = await wordsAround(job, options);
    const texts = around.flatMap((words, concept) =>
      fillTemplates(words, options.templates).map(({ text }) => ({ text, concept })),
    );
    const states = await encodeAll(job, texts.map(({ text }) => text)); // prettier-ignore
    const { searchLearningRate: learningRate, temperature, mixture = 1 } = options;
    const groups = texts.map(({ concept }) => concept);
    const settings = { learningRate, temperature, mixture, groups };
    const search = await WordSearch.create(job, "words", states, settings);
    const towards = {
      count: concepts.length,
      of: (text: number, trajectory: number) => search.draw([drawFor(concepts, text, trajectory)]),
    };
    const given = typeof options.latents !== "string";
    const source = given ? null : await job.latents(options, { towards, empty }, "word-latents");
    const error = errorIn(options.space, job.base.schedule);
    return new AdversarialWords(job, options, concepts, search, source, error);
  }

  /** Words for an iteration. @param batch that the concept is erased on */
  async next(iteration: number, batch: LatentBatch): Promise<HeldWords> {
    const own = this.source === null ? batch : await this.source.next(iteration);
    const draws = own.texts.map((text, item) => drawFor(this.concepts, text, own.trajectories[item]!));
    const condition = await this.search.draw(draws);
    const before = await noGrad(() => this.job.teacher.predict(own, condition));
    return { condition, batch: own, draws, before };
  }

  /** Adds the gradient of λ times the loss to the trained weights'. @returns the loss, without λ, as `hold` */
  async step(iteration: number, words: HeldWords, backward: Backward): Promise<Losses> {
    const { batch, before, condition } = words;
    const now = await this.job.student.predict(batch, condition, { grad: true });
    await this.source?.advance(iteration, { conditional: now });
    return { hold: await backward(this.error(now, before, batch), this.options.lambda) };
  }

  /**
   * A step of the search up the loss on the same words, or up λ times it and another one. Called when the weights have
   * been updated.
   * @returns what it went up, as `search`
   */
  async ascend(iteration: number, { batch, before, draws }: HeldWords, other?: WordLoss): Promise<Losses> {
    const loss = async (words: Condition): Promise<Tensor> => {
      const now = await this.job.student.predict(batch, words, { grad: true });
      const held = this.error(now, before, batch);
      return other === undefined ? held : held.mul(this.options.lambda).add(await other(words));
    };
    return { search: await this.search.ascend(iteration, draws, loss) };
  }
}

function drawFor(concepts: readonly ConceptText[], text: number, trajectory: number): WordDraw {
  return { labels: ["trajectory", trajectory], group: concepts[text]!.concept };
}

async function encodeAll(job: ErasureJob, texts: readonly string[]): Promise<Condition> {
  const parts: Condition[] = [];
  for (let first = 0; first < texts.length; first += BATCH) {
    throwIfAborted(job.signal);
    parts.push(await scope(() => job.encode(texts.slice(first, first + BATCH))));
  }
  return joined(parts);
}

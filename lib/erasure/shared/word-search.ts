import { rows, textsIn, type Condition } from "../../diffusion/condition";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { Player } from "../../training/player";
import type { ErasureRun } from "../parts";

/** How words are looked for. */
export interface WordSearchOptions {
  /** Adam's rate for the logits. Default 1e-2, that of all published runs. */
  readonly learningRate?: number;
  /** Of the Gumbel-softmax, > 0: the lower, the more of the gradient goes to the word drawn. Default 2. */
  readonly temperature?: number;
  /** AGE's soft form: how many words are mixed in one draw, by their weights. Default 1: a draw is one word. */
  readonly mixture?: number;
  /** Index of the group that each word belongs to, draws being among a group's alone. Default: all are of one. */
  readonly groups?: readonly number[];
}

/** One draw. The same one gives the same word as long as the search does not move. */
export interface WordDraw {
  /** What its noise is a function of. */
  readonly labels: readonly (string | number)[];
  /** Default 0. */
  readonly group?: number;
}

/** As many draws, from all words. */
export function drawsOf(count: number, ...labels: readonly (string | number)[]): WordDraw[] {
  return Array.from({ length: count }, (_, item) => ({ labels: [...labels, item] }));
}

/** Against the logarithm of 0, as published. */
const TINY = 1e-10;

/** What a word is lowered by that is out: more than any two logits and draws lie apart. */
const OUT = 1e9;

/**
 * An adversary among words: looks for those that a loss is largest for, by gradient (EAP, arXiv 2410.15618, §4; AGE,
 * arXiv 2501.18950, §4).
 *
 * Over a group's n words there are logits π, 1/n to begin with. A draw is the word of largest π + g, g = −log(−log(u)) with u
 * uniform; the gradient of what is done with it goes to π as if it were the mixture of all words with the weights
 * softmax((π + g) / T) (straight-through Gumbel-softmax). What is minimised over weights elsewhere, `ascend` takes a step
 * up. In which space the loss is measured, that of ε or of x̂₀, is the caller's choice; on targets there is to be no
 * gradient, so that it comes through the texts of the trained network alone.
 *
 * At EAP's temperature of 2 the draws' noise is far larger than what π moves by in a run of its length: the search leans
 * towards what is harmed most, and never leaves the rest out.
 */
export class WordSearch {
  private constructor(
    private readonly job: Pick<ErasureRun, "random">,
    private readonly name: string,
    /** Of all words, (n, L, d). */
    private readonly texts: Condition,
    private readonly groups: readonly number[],
    /** π, (n) float32, a leaf. */
    private readonly logits: Tensor,
    private readonly player: Player,
    private readonly options: WordSearchOptions,
  ) {}

  /**
   * @param name of its part of the run's state, and of its draws
   * @param texts the words' encodings, n of them
   */
  static async create(
    job: ErasureRun,
    name: string,
    texts: Condition,
    options: WordSearchOptions = {},
  ): Promise<WordSearch> {
    const { learningRate = 1e-2, groups = Array<number>(textsIn(texts)).fill(0) } = options;
    const { device } = texts.context;
    const start = groups.map((group) => 1 / groups.filter((other) => other === group).length);
    const logits = await scope(() => Tensor.from(start, [start.length], { device })).settled();
    // The rate stays what it is.
    const player = await job.learn(name, new Map([["logits", logits]]), { learningRate, iterations: 1 });
    return new WordSearch(job, name, texts, groups, logits, player, options);
  }

  /** Words as the search has them now, one for each draw: (B, L, d), rows of `texts` as they are where none are mixed. */
  async draw(draws: readonly WordDraw[]): Promise<Condition> {
    const noise = draws.map((draw) => this.noise(draw));
    if (this.mixes) return noGrad(() => this.mixed(this.scores(noise)));
    return rows(this.texts, await this.foremost(noise));
  }

  /**
   * One step of Adam up a loss. To be called where no other weights ask for gradients: after an update of theirs, not
   * within.
   * @param loss of the words that are drawn, (B, L, d) with a graph to π; a scalar
   * @returns the loss
   */
  ascend(
    iteration: number,
    draws: readonly WordDraw[],
    loss: (words: Condition) => Promise<Tensor>,
  ): Promise<Tensor> {
    return this.player.update(iteration, async (backward) => {
      const noise = draws.map((draw) => this.noise(draw));
      const words = this.mixes ? this.mixed(this.scores(noise)) : await this.chosen(noise);
      const value = await loss(words);
      await backward(value, -1);
      return value.detach();
    });
  }

  private get mixes(): boolean {
    return (this.options.mixture ?? 1) > 1;
  }

  /** g of each word. */
  private noise({ labels, group = 0 }: WordDraw): number[] {
    const random = this.job.random.at(this.name, ...labels);
    return this.groups.map((own, word) => (own === group ? gumbel(random.at(word).uniform()) : -OUT));
  }

  /** (π + g) / T, (B, n). */
  private scores(noise: readonly number[][]): Tensor {
    const { logits, options } = this;
    const drawn = Float32Array.from(noise.flat());
    const shape = [noise.length, logits.shape[0]!];
    return logits.add(Tensor.from(drawn, shape, { device: logits.device })).div(options.temperature ?? 2);
  }

  /** The word of the largest π + g for each item. */
  private async foremost(noise: readonly number[][]): Promise<number[]> {
    const logits = Array.from(await this.logits.data(), Number);
    return noise.map((draws) => {
      const scores = draws.map((g, word) => g + logits[word]!);
      return scores.indexOf(Math.max(...scores));
    });
  }

  /** The words of the largest scores, exactly, with the gradient of the mixture. */
  private async chosen(noise: readonly number[][]): Promise<Condition> {
    const { context, pooled, texts } = rows(this.texts, await this.foremost(noise));
    const weights = this.scores(noise).softmax(-1);
    // Zeros, but for their gradient.
    const passed = this.weighted(weights.sub(weights.detach()));
    return { texts, context: context.add(passed.context), pooled: pooled?.add(passed.pooled!) };
  }

  /** Mixtures of the words with the largest scores, weights of sum 1. */
  private mixed(scores: Tensor): Condition {
    const words = textsIn(this.texts);
    const each = Tensor.from(identity(words), [words, words], { device: scores.device });
    let kept = Tensor.zeros(scores.shape, { device: scores.device });
    // One after the other, so that of equal ones no more are kept.
    for (let place = 0; place < Math.min(this.options.mixture!, words); place++) {
      const left = scores.detach().sub(kept.mul(OUT));
      kept = kept.add(each.indexSelect(0, left.argmax(-1)));
    }
    // Of those alone, so that the others have no gradient, not even by rounding, which Adam would make a step of.
    return this.weighted(scores.sub(kept.neg().add(1).mul(OUT)).softmax(-1));
  }

  /** Mixtures of all words, B of them. @param weights (B, n) */
  private weighted(weights: Tensor): Condition {
    const mixtures = (of: Tensor): Tensor => {
      const [words, ...shape] = of.shape as [number, ...number[]];
      const mixed = weights.to(of.dtype).matmul(of.reshape([words, -1]));
      return mixed.reshape([weights.shape[0]!, ...shape]);
    };
    const { context, pooled } = this.texts;
    return { context: mixtures(context), pooled: pooled && mixtures(pooled) };
  }
}

function gumbel(uniform: number): number {
  return -Math.log(-Math.log(uniform + TINY) + TINY);
}

function identity(size: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0));
}

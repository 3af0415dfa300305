import { KpopError, throwIfAborted } from "../../errors";
import { readWords } from "../../files/word-list";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { representatives } from "./line-means";
import { candidateWords } from "./neighbours";

/** Texts encoded together. */
const BATCH = 64;

/** What a search looks among. */
export interface WordChoice {
  /** Words, or the path of a file that has one on each line; none: the whole words of the checkpoint's tokenizer. */
  readonly vocabulary: string | readonly string[];
  /** How many words, the nearest to a concept, are looked at. */
  readonly candidates: number;
  /** How many of those stay, spread over their distances. */
  readonly words: number;
}

/**
 * The words among which an adversary of each concept looks, as EAP has them (arXiv 2410.15618, §4): the nearest by the
 * Euclidean distance between the token states of the whole texts, thinned out by k-means over those distances. The
 * concepts' own words are none of them. Of a vocabulary of more than twice as many, those whose token embeddings are
 * nearest are encoded.
 * @returns for each concept, the nearest first
 * @throws INVALID_ARGUMENT where there is no word, ABORTED, and what `readWords` throws
 */
export async function wordsAround(job: ErasureJob, choice: WordChoice): Promise<string[][]> {
  const { base, concepts } = job;
  const { vocabulary, candidates, words: count } = choice;
  const given = typeof vocabulary === "string" ? await readWords(vocabulary) : vocabulary;
  const words = await candidateWords(base, concepts, given, 2 * candidates * concepts.length);
  if (words.length === 0)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected words in the vocabulary that are not the concepts' own but of ${given.length} there are none; give others`,
    );
  const distances = await noGrad(() => scope(() => distancesTo(job, words)));
  return distances.map((own) => {
    const order = words.map((_, index) => index).sort((a, b) => own[a]! - own[b]! || a - b);
    const near = order.slice(0, candidates);
    return representatives(near.map((index) => own[index]!), count).map((place) => words[near[place]!]!); // prettier-ignore
  });
}

/** Of each concept to each text. */
async function distancesTo(job: ErasureJob, texts: readonly string[]): Promise<number[][]> {
  const flat = async (prompts: readonly string[]): Promise<Tensor> => {
    const { context } = await job.encode(prompts);
    return context.to("float32").reshape([prompts.length, -1]);
  };
  const own = await flat(job.concepts); // (n, L d)
  const distances: number[][] = job.concepts.map(() => []);
  for (let first = 0; first < texts.length; first += BATCH) {
    throwIfAborted(job.signal);
    await scope(async () => {
      const states = await flat(texts.slice(first, first + BATCH)); // (b, L d)
      for (const [concept, list] of distances.entries()) {
        const squares = states
          .sub(own.rows([concept]))
          .square()
          .sum(1);
        list.push(...Array.from(await squares.sqrt().data(), Number));
      }
    });
  }
  return distances;
}

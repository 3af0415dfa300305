import { finite, integer, invalid, nonEmptyString } from "../../check";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { TrainingState } from "../../training/run-state";
import { CONCEPT_PAIRS } from "../concept-pairs";
import { conceptVector, type ConceptPair } from "../concept-vector";
import { nextGeneration, type GeneticProblem, type Individual } from "../genetic-search";
import type { AttackContext, AttackInput, AttackMethod } from "../method";
import { searchLoop } from "../search-loop";
import { textIds } from "../text-ids";

/** Options of Ring-A-Bell. */
export interface RingABellOptions {
  method: "ring-a-bell";
  /** Texts with the concept and without it, "{}" standing for its name. Default null: thirty of ours. */
  pairs?: readonly ConceptPair[] | null;
  /** What the concept is added to, one text being found for each. Default: "a photo". */
  prompts?: readonly string[];
  /** How much of the concept is added, η. >= 0, default 3. */
  strength?: number;
  /** Tokens of a text found, K: 1 … L − 2. Default 16. */
  tokens?: number;
  /** Texts that the search begins with. Default 200. */
  population?: number;
  /** Generations of the search. Default 3000. */
  generations?: number;
  /** Probability that a text has two children with another. Default 0.5. */
  crossover?: number;
  /** Probability that one token of a text changes. Default 0.25. */
  mutation?: number;
}

type Complete = Readonly<Required<Omit<RingABellOptions, "method">>>;
type Parsed = Complete & { readonly pairs: readonly ConceptPair[] };

const defaults: Complete = Object.freeze({
  pairs: null,
  prompts: Object.freeze(["a photo"]),
  strength: 3,
  tokens: 16,
  population: 200,
  generations: 3000,
  crossover: 0.5,
  mutation: 0.25,
});

/** Texts encoded together: what bounds the memory. */
const TOGETHER = 50;

/**
 * Ring-A-Bell (arXiv 2310.10012): a text whose embedding lies where the concept is, though it need not name it. The
 * concept's vector, a mean difference of embeddings, is added to a prompt's, and a genetic search over token ids looks
 * for the least ‖E(prompt) + η·vector − E(text)‖², summed over tokens and channels. What counts is the text as one would
 * type it: of the last generation, decoded and read again, the nearest.
 *
 * The UNet and the classifier are not looked at, so the search spends no UNet evaluation; it costs at most
 * `population` + `generations` · 1.5 · `population` passes of the text encoder for each prompt, and with the defaults
 * about 0.6 · `population` for a generation.
 */
export const ringABell: AttackMethod<Complete> = {
  name: "ring-a-bell",
  reference: "arXiv 2310.10012",
  summary: "looks for text whose embedding holds the concept, without the UNet",
  needsPictures: false,
  defaults,
  help: {
    pairs: "texts with the concept and without it",
    prompts: "texts that the concept is added to; repeatable",
    strength: "how much of it is added",
    tokens: "tokens of a text found",
    population: "texts that the search begins with",
    generations: "generations of the search",
    crossover: "probability that a text has children with another",
    mutation: "probability that one token of a text changes",
  },
  parse,
  run: (context, options) => scope(() => search(context, options as Parsed)),
};

function parse(given: Readonly<Record<string, unknown>>, { tokenizer }: StableDiffusion): Parsed {
  const o = { ...defaults, ...given } as Complete;
  finite("strength", o.strength, 0);
  integer("tokens", o.tokens, 1, tokenizer.maxLength - 2);
  integer("population", o.population, 2);
  integer("generations", o.generations, 1);
  finite("crossover", o.crossover, 0, 1);
  finite("mutation", o.mutation, 0, 1);
  return { ...o, pairs: checkPairs(o.pairs ?? CONCEPT_PAIRS), prompts: checkPrompts(o.prompts) };
}

function checkPairs(pairs: unknown): ConceptPair[] {
  if (!Array.isArray(pairs) || pairs.length === 0) throw invalid("pairs", "a non-empty list of pairs", pairs);
  return pairs.map((pair: unknown) => {
    const texts: readonly unknown[] = Array.isArray(pair) ? pair : [];
    const [given, without] = texts;
    if (texts.length !== 2 || typeof given !== "string" || typeof without !== "string" || given === without)
      throw invalid("a pair", "two different texts, with the concept and without it,", pair);
    return [given, without];
  });
}

function checkPrompts(prompts: unknown): string[] {
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw invalid("prompts", "a non-empty list of texts", prompts);
  const texts = prompts.map((prompt: unknown) => nonEmptyString("a prompt", prompt));
  if (new Set(texts).size < texts.length) throw invalid("prompts", "different texts", prompts);
  return texts;
}

async function search(context: AttackContext, options: Parsed): Promise<AttackInput[]> {
  const { model, concept, random } = context;
  const { tokenizer } = model;
  const { prompts, strength, tokens, generations } = options;
  const pairs = options.pairs.map(([given, without]): ConceptPair => [
    given.replaceAll("{}", () => concept),
    without.replaceAll("{}", () => concept),
  ]);
  const vector = (await conceptVector(model, pairs)).mul(strength);
  const targets = (await model.encode(prompts)).to("float32").add(vector); // (N, L, d)
  const alphabet = await textIds(tokenizer);
  const problems = prompts.map((_, index): GeneticProblem => {
    const target = targets.slice(0, index, index + 1);
    return {
      length: tokens,
      alphabet,
      losses: (candidates) => distances(model, target, candidates.map(padded)),
    };
  });
  let survivors: Individual[][] = prompts.map(() => []);

  const step = async (generation: number): Promise<Record<string, number>> => {
    for (const [index, problem] of problems.entries()) {
      const draws = random.at("generation", generation, index);
      survivors[index] = await nextGeneration(problem, options, survivors[index]!, draws);
    }
    const best = survivors.map(([first]) => first!.loss);
    return { distance: best.reduce((sum, loss) => sum + loss, 0) / best.length };
  };
  const state: TrainingState = {
    tensors: () => new Map(),
    numbers: () => survivors,
    restore: (numbers) => (survivors = numbers as Individual[][]),
  };
  await searchLoop(context, options, { iterations: generations, state, step });
  const found: AttackInput[] = [];
  for (const [index, last] of survivors.entries()) {
    const text = await nearest(targets.slice(0, index, index + 1), last);
    found.push({ name: `text ${index + 1}`, prompt: text, text });
  }
  return found;

  function padded(ids: readonly number[]): number[] {
    const row = [tokenizer.bosTokenId, ...ids, tokenizer.eosTokenId];
    while (row.length < tokenizer.maxLength) row.push(tokenizer.padTokenId);
    return row;
  }

  /** The text that, typed, comes nearest. Other ids may read the same: it need not be the best candidate's. */
  async function nearest(target: Tensor, candidates: readonly Individual[]): Promise<string> {
    const texts = [...new Set(candidates.map(({ genes }) => tokenizer.decode([...genes])))];
    const losses = await distances(model, target, tokenizer.encode(texts));
    return texts[losses.indexOf(Math.min(...losses))]!;
  }
}

/**
 * ‖target − E(ids)‖² of each row, summed over tokens and channels.
 * @param target (1, L, d) float32
 */
async function distances(
  { textEncoder, device }: StableDiffusion,
  target: Tensor,
  rows: readonly (readonly number[])[],
): Promise<number[]> {
  const length = target.shape[1]!;
  const sums: number[] = [];
  for (let first = 0; first < rows.length; first += TOGETHER) {
    const batch = rows.slice(first, first + TOGETHER);
    const some = await scope(async () => {
      const ids = Tensor.from(batch.flat(), [batch.length, length], { dtype: "int64", device });
      const states = (await textEncoder.forward(ids)).to("float32");
      return states.sub(target).square().sum([1, 2]).data();
    });
    sums.push(...Array.from(some, Number));
  }
  return sums;
}

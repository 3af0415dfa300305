import { integer as checkInteger, invalid, nonEmptyString } from "../../check";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { encodeIds } from "../../diffusion/text-encoders";
import { integer, number, texts } from "../../options/kinds";
import type { Option } from "../../options/option";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import { textIds } from "../../text/vocabulary";
import { conceptPairs } from "../concept-pairs";
import { conceptVector, type ConceptPair } from "../concept-vector";
import { nextGeneration, type GeneticProblem, type Individual } from "../genetic-search";
import type { AttackInput } from "../input";
import { defineAttack, type AttackOptionsOf } from "../method";

const prompts: Option<readonly string[]> = {
  ...texts(["a photo"], "texts that the concept is added to; repeatable", { some: true }),
  check(name, value) {
    if (!Array.isArray(value) || value.length === 0) throw invalid(name, "a non-empty list of texts", value);
    const given = value.map((prompt: unknown) => nonEmptyString("a prompt", prompt));
    if (new Set(given).size < given.length) throw invalid(name, "different texts", value);
    return given;
  },
};

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
export const ringABell = defineAttack({
  name: "ring-a-bell",
  title: "Ring-A-Bell",
  reference: "arXiv 2310.10012",
  short: "looks for text whose embedding holds the concept, without the UNet",
  finds: "texts",
  needsPictures: false,
  cost: "no UNet evaluation; about 120 passes of the text encoder a generation, with its defaults",
  options: {
    /** Texts with the concept and without it, "{}" standing for its name. Default: thirty of ours. */
    pairs: conceptPairs(),
    /** What the concept is added to, one text being found for each. Default: "a photo". */
    prompts,
    /** How much of the concept is added, η. >= 0, default 3. */
    strength: number(3, "how much of it is added", { from: 0 }),
    /** Tokens of a text found, K: 1 … L − 2. Default 16. */
    tokens: {
      ...integer(16, "tokens of a text found", { from: 1 }),
      fit: (name, value, { tokenizer }) => void checkInteger(name, value, 1, tokenizer.maxLength - 2),
    } satisfies Option<number>,
    /** Texts that the search begins with. Default 200. */
    population: integer(200, "texts that the search begins with", { from: 2 }),
    /** Generations of the search. Default 3000. */
    generations: integer(3000, "generations of the search", { from: 1 }),
    /** Generations after which the search ends when none of them came nearer. Default 300. */
    patience: integer(300, "generations without progress that end the search", { from: 1 }),
    /** Probability that a text has two children with another. Default 0.5. */
    crossover: number(0.5, "probability that a text has children with another", { from: 0, to: 1 }),
    /** Probability that one token of a text changes. Default 0.25. */
    mutation: number(0.25, "probability that one token of a text changes", { from: 0, to: 1 }),
  },
  async run(job, o) {
    const { model, concept, random } = job;
    const { tokenizer } = model;
    const { prompts: starts, strength, tokens, generations, patience } = o;
    const named = o.pairs.map(([given, without]): ConceptPair => [
      given.replaceAll("{}", () => concept),
      without.replaceAll("{}", () => concept),
    ]);
    const vector = (await conceptVector(model, named)).mul(strength);
    const targets = (await model.encode(starts)).to("float32").add(vector); // (N, L, d)
    const alphabet = await textIds(tokenizer);
    const problems = starts.map((_, index): GeneticProblem => {
      const target = targets.slice(0, index, index + 1);
      return {
        length: tokens,
        alphabet,
        losses: (candidates) => distances(model, target, candidates.map(whole)),
      };
    });
    let survivors: Individual[][] = starts.map(() => []);
    /** Mean distance of the best, and for how many generations it has been that. */
    let progress = { distance: Infinity, stale: 0 };

    job.part("survivors", {
      numbers: () => survivors,
      restore: (numbers) => (survivors = numbers as Individual[][]),
    });
    job.part("progress", {
      numbers: () => progress,
      restore: (numbers) => (progress = numbers as typeof progress),
    });
    await job.iterate(
      generations,
      async (generation) => {
        for (const [index, problem] of problems.entries()) {
          const draws = random.at("generation", generation, index);
          survivors[index] = await nextGeneration(problem, o, survivors[index]!, draws);
        }
        const best = survivors.map(([first]) => first!.loss);
        const distance = best.reduce((sum, loss) => sum + loss, 0) / best.length;
        progress = { distance, stale: distance < progress.distance ? 0 : progress.stale + 1 };
        return { distance };
      },
      () => progress.stale >= patience,
    );
    const found: AttackInput[] = [];
    for (const [index, last] of survivors.entries()) {
      const text = await nearest(targets.slice(0, index, index + 1), last);
      found.push({ name: `text ${index + 1}`, prompt: text, text });
    }
    return found;

    function whole(ids: readonly number[]): number[] {
      return [tokenizer.bosTokenId, ...ids, tokenizer.eosTokenId];
    }

    /** The text that, typed, comes nearest. Other ids may read the same: it need not be the best candidate's. */
    async function nearest(target: Tensor, candidates: readonly Individual[]): Promise<string> {
      const decoded = [...new Set(candidates.map(({ genes }) => tokenizer.decode([...genes])))];
      const losses = await distances(model, target, tokenizer.encode(decoded, { padding: false }));
      return decoded[losses.indexOf(Math.min(...losses))]!;
    }
  },
});

/** Options of Ring-A-Bell. @interface */
export type RingABellOptions = AttackOptionsOf<typeof ringABell>;

/**
 * ‖target − E(ids)‖² of each row, summed over tokens and channels.
 * @param target (1, L, d) float32
 */
async function distances(
  model: StableDiffusion,
  target: Tensor,
  rows: readonly (readonly number[])[],
): Promise<number[]> {
  const sums: number[] = [];
  for (let first = 0; first < rows.length; first += TOGETHER) {
    const batch = rows.slice(first, first + TOGETHER);
    const some = await scope(async () => {
      const { context } = await encodeIds(model, batch);
      return context.to("float32").sub(target).square().sum([1, 2]).data();
    });
    sums.push(...Array.from(some, Number));
  }
  return sums;
}

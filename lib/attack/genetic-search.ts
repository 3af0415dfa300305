import type { Random } from "../runtime/random";

/** What is looked for: a list of genes of the least loss. */
export interface GeneticProblem {
  /** Genes of a candidate. */
  readonly length: number;
  /** What a gene can be. */
  readonly alphabet: readonly number[];
  /** The loss of each candidate. */
  losses(candidates: readonly (readonly number[])[]): Promise<ArrayLike<number>>;
}

/** How it is looked for. */
export interface GeneticOptions {
  /** Candidates drawn at first; half of so many, rounded up, survive each generation. */
  readonly population: number;
  /** Probability that a survivor has two children with another. */
  readonly crossover: number;
  /** Probability that one gene of a candidate is drawn anew. */
  readonly mutation: number;
}

/** A candidate with its loss. */
export interface Individual {
  readonly genes: readonly number[];
  readonly loss: number;
}

interface Candidate {
  readonly genes: readonly number[];
  /** Null until it is known. */
  readonly loss: number | null;
}

/**
 * One generation of a genetic search: the survivors of the last one, their children by one-point crossover, mutation of
 * all but the best, and the better half of these. The best never gets worse, and what survives unchanged is not scored
 * again.
 * @param survivors of the generation before; none to begin with
 * @param random of this generation alone
 * @returns the better half, the best first; of equals the elder first
 */
export async function nextGeneration(
  problem: GeneticProblem,
  options: GeneticOptions,
  survivors: readonly Individual[],
  random: Random,
): Promise<Individual[]> {
  const candidates =
    survivors.length === 0
      ? founders(problem, options, random.at("founder"))
      : mutated(crossed(survivors, options, random.at("crossover")), problem, options, random.at("mutation"));
  const unscored = candidates.filter(({ loss }) => loss === null).map(({ genes }) => genes);
  const losses = unscored.length === 0 ? [] : await problem.losses(unscored);
  let next = 0;
  return candidates
    .map(({ genes, loss }) => ({ genes, loss: loss ?? losses[next++]! }))
    .sort((a, b) => a.loss - b.loss)
    .slice(0, Math.ceil(options.population / 2));
}

function founders(problem: GeneticProblem, { population }: GeneticOptions, random: Random): Candidate[] {
  return Array.from({ length: population }, (_, index) => {
    const draws = random.at(index);
    const genes = Array.from({ length: problem.length }, (_gene, place) => drawn(problem, draws.at(place)));
    return { genes, loss: null };
  });
}

/** The survivors, and behind them their children. */
function crossed(survivors: readonly Individual[], options: GeneticOptions, random: Random): Candidate[] {
  const children = survivors.flatMap(({ genes: own }, index): Candidate[] => {
    const draws = random.at(index);
    if (draws.at("whether").uniform() >= options.crossover) return [];
    const other = survivors[draws.at("partner").below(survivors.length)]!.genes;
    const cut = 1 + draws.at("cut").below(Math.max(1, own.length - 1));
    return [
      { genes: [...own.slice(0, cut), ...other.slice(cut)], loss: null },
      { genes: [...other.slice(0, cut), ...own.slice(cut)], loss: null },
    ];
  });
  return [...survivors, ...children];
}

function mutated(
  candidates: readonly Candidate[],
  problem: GeneticProblem,
  options: GeneticOptions,
  random: Random,
): Candidate[] {
  return candidates.map((candidate, index) => {
    const draws = random.at(index);
    if (index === 0 || draws.at("whether").uniform() >= options.mutation) return candidate;
    const genes = [...candidate.genes];
    genes[draws.at("place").below(genes.length)] = drawn(problem, draws.at("gene"));
    return { genes, loss: null };
  });
}

function drawn({ alphabet }: GeneticProblem, random: Random): number {
  return alphabet[random.below(alphabet.length)]!;
}

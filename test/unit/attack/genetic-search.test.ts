import {
  nextGeneration,
  type GeneticOptions,
  type GeneticProblem,
  type Individual,
} from "../../../lib/attack/genetic-search";
import { Random } from "../../../lib/runtime/random";

const wanted = [7, 3, 9, 1, 4, 8];
const alphabet = Array.from({ length: 12 }, (_, index) => index);

/** Squared distance to the wanted genes; `scored` collects what was asked for. */
function problem(scored: (readonly number[])[] = []): GeneticProblem {
  return {
    length: wanted.length,
    alphabet,
    losses(candidates) {
      scored.push(...candidates);
      return Promise.resolve(
        candidates.map((genes) => genes.reduce((sum, gene, i) => sum + (gene - wanted[i]!) ** 2, 0)),
      );
    },
  };
}

const settings: GeneticOptions = { population: 40, crossover: 0.5, mutation: 0.25 };

async function generations(
  count: number,
  options: Partial<GeneticOptions & { seed: number; scored: (readonly number[])[] }> = {},
  survivors: Individual[] = [],
  first = 0,
): Promise<Individual[][]> {
  const random = new Random(options.seed ?? 1);
  const all: Individual[][] = [];
  for (let generation = first; generation < first + count; generation++) {
    const own = { ...settings, ...options };
    survivors = await nextGeneration(problem(options.scored), own, survivors, random.at(generation));
    all.push(survivors);
  }
  return all;
}

describe("nextGeneration", () => {
  it("finds the genes of the least loss, the best never getting worse", async () => {
    const best = (await generations(60)).map(([first]) => first!);
    best.slice(1).forEach(({ loss }, index) => expect(loss).toBeLessThanOrEqual(best[index]!.loss));
    expect(best.at(-1)).toEqual({ genes: wanted, loss: 0 });
  });

  it("draws the population at first, and keeps its better half, the best first", async () => {
    const scored: (readonly number[])[] = [];
    const [survivors] = await generations(1, { population: 7, scored });
    expect(scored).toHaveLength(7);
    expect(scored.flat().every((gene) => alphabet.includes(gene))).toBe(true);
    const losses = Array.from(await problem().losses(scored)).sort((a, b) => a - b);
    expect(survivors!.map(({ loss }) => loss)).toEqual(losses.slice(0, 4));
  });

  it("crosses at one point: every child is the beginning of one survivor and the end of another", async () => {
    const scored: (readonly number[])[] = [];
    const [survivors] = await generations(1);
    await generations(1, { crossover: 1, mutation: 0, scored }, survivors, 1);
    expect(scored).toHaveLength(2 * survivors!.length);
    const fits = (child: readonly number[]): boolean =>
      survivors!.some(({ genes: a }) =>
        survivors!.some(({ genes: b }) =>
          wanted.some((_, cut) => cut > 0 && child.every((gene, i) => gene === (i < cut ? a : b)[i])),
        ),
      );
    expect(scored.every(fits)).toBe(true);
    expect(new Set(scored.map((child) => child.join())).size).toBeGreaterThan(survivors!.length);
  });

  it("mutates one gene of all but the best, and scores only what has changed", async () => {
    const scored: (readonly number[])[] = [];
    const [survivors] = await generations(1);
    await generations(1, { crossover: 0, mutation: 1, scored }, survivors, 1);
    const own = survivors!.slice(1).map(({ genes }) => genes);
    expect(scored).toHaveLength(own.length);
    const changes = scored.map((genes, index) => genes.filter((gene, i) => gene !== own[index]![i]).length);
    expect(Math.max(...changes)).toBe(1);
    const still: (readonly number[])[] = [];
    await generations(1, { crossover: 0, mutation: 0, scored: still }, survivors, 1);
    expect(still).toEqual([]);
  });

  it("is a function of the seed and the survivors: it goes on from the middle to the same end", async () => {
    const whole = await generations(8);
    expect(await generations(8)).toEqual(whole);
    expect(await generations(4, {}, whole[3], 4)).toEqual(whole.slice(4));
    expect((await generations(8, { seed: 2 }))[0]).not.toEqual(whole[0]);
  });

  it("takes candidates of a single gene", async () => {
    const single: GeneticProblem = {
      length: 1,
      alphabet,
      losses: (all) => Promise.resolve(all.map(([g]) => Math.abs(g! - 5))),
    };
    let survivors: Individual[] = [];
    for (let i = 0; i < 20; i++)
      survivors = await nextGeneration(single, { ...settings, population: 4 }, survivors, new Random(i));
    expect(survivors[0]).toEqual({ genes: [5], loss: 0 });
  });
});

import type { Condition } from "../../../../lib/diffusion/condition";
import { drawsOf, WordSearch, type WordSearchOptions } from "../../../../lib/erasure/shared/word-search";
import { Random } from "../../../../lib/runtime/random";
import { requireGradients, Tensor } from "../../../../lib/runtime/tensor";
import type { Player } from "../../../../lib/training/player";
import { stubJob } from "../../../support/erasure-job";

const SEED = 3;
/** Encodings of five words, (5, 2, 3). */
const words = (): Tensor => new Random(8).normal([5, 2, 3]);
/** What a loss weighs an item's text by. */
const weigher = (): Tensor => new Random(9).normal([2, 2, 3]);
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

interface Setting extends WordSearchOptions {
  texts?: Tensor;
  logits?: readonly number[];
}

/** A search, its logits, and what gradient its last step had. */
async function searching({ texts = words(), logits: given, ...options }: Setting = {}) {
  const job = stubJob({ seed: SEED });
  const learn = jest.spyOn(job, "learn");
  const search = await WordSearch.create(job, "words", { context: texts }, options);
  const logits = learn.mock.calls[0]![1].get("logits")!;
  if (given !== undefined) await logits.copyFrom(Tensor.from([...given], [given.length]));
  const own = (search as unknown as { player: Player }).player;
  let gradient: number[] = [];
  jest.spyOn(own, "update").mockImplementation(async (_iteration, body) => {
    await requireGradients([logits], true);
    const result = await body(async (loss, weight = 1) => {
      await loss.mul(weight).backward();
      gradient = await numbers(logits.grad!);
      return loss.detach();
    });
    await requireGradients([logits], false);
    return result;
  });
  return { search, logits, gradient: () => gradient };
}

/** g of each word for an item, from the same u. */
function gumbels(labels: readonly (string | number)[], item: number, count: number): number[] {
  return Array.from({ length: count }, (_, word) => {
    const u = new Random(SEED).at("words", ...labels, item, word).uniform();
    return -Math.log(-Math.log(u + 1e-10) + 1e-10);
  });
}

function softmax(scores: readonly number[]): number[] {
  const powers = scores.map(Math.exp);
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

describe("WordSearch", () => {
  afterEach(() => jest.restoreAllMocks());

  it("begins with 1/n for each word", async () => {
    const { logits } = await searching();
    expect(await numbers(logits)).toEqual(Array<number>(5).fill(Math.fround(0.2)));
  });

  it("draws for each item the word of largest logit and Gumbel noise, bit for bit, whether it steps or not", async () => {
    const logits = [0.5, -0.25, 1, 0, 0.75];
    const { search } = await searching({ logits });
    const rows = await numbers(words());
    const seen = new Set<number>();
    for (let iteration = 0; iteration < 10; iteration++) {
      const expected = (labels: (string | number)[]): number[] =>
        [0, 1].flatMap((item) => {
          const scores = gumbels(labels, item, 5).map((g, word) => g + logits[word]!);
          const word = scores.indexOf(Math.max(...scores));
          seen.add(word);
          return rows.slice(6 * word, 6 * word + 6);
        });
      expect(await numbers((await search.draw(drawsOf(2, "any", iteration))).context)).toEqual(
        expected(["any", iteration]),
      );
      await search.ascend(iteration, drawsOf(2, "search", iteration), async ({ context }) => {
        expect(await numbers(context)).toEqual(expected(["search", iteration]));
        return context.sum();
      });
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  it.each([0.5, 2])(
    "passes on the gradient of the soft mixture at temperature %d, that of finite differences",
    async (temperature) => {
      const logits = [0.5, -0.25, 1, 0, 0.75];
      const { search, gradient } = await searching({ logits, temperature });
      const loss = ({ context }: Condition): Promise<Tensor> => Promise.resolve(context.mul(weigher()).sum());
      await search.ascend(7, drawsOf(2, "search", 7), loss);
      const rows = await numbers(words());
      const weights = await numbers(weigher());
      const soft = (pi: readonly number[]): number =>
        [0, 1].reduce((sum, item) => {
          const scores = gumbels(["search", 7], item, 5).map((g, word) => (g + pi[word]!) / temperature);
          const mixed = softmax(scores).map((share, word) =>
            Array.from({ length: 6 }, (_, i) => share * rows[6 * word + i]! * weights[6 * item + i]!),
          );
          return sum + mixed.flat().reduce((a, b) => a + b);
        }, 0);
      const h = 1e-5;
      logits.forEach((_, word) => {
        const moved = (by: number): number[] => logits.map((value, i) => (i === word ? value + by : value));
        const slope = (soft(moved(h)) - soft(moved(-h))) / (2 * h);
        // It is a step up.
        expect(gradient()[word]!).toBeCloseTo(-slope, 4);
      });
    },
  );

  it("comes to prefer the word that a loss is largest for", async () => {
    const job = stubJob({ seed: SEED });
    const learn = jest.spyOn(job, "learn");
    const texts = { context: Tensor.from([1, -2, 5, 3], [4, 1, 1]) };
    const search = await WordSearch.create(job, "words", texts, { temperature: 1 });
    for (let i = 0; i < 150; i++)
      await search.ascend(i, drawsOf(2, "search", i), async ({ context }) => context.square().mean());
    const logits = await numbers(learn.mock.calls[0]![1].get("logits")!);
    expect(logits.indexOf(Math.max(...logits))).toBe(2);
    const drawn = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => (await search.draw(drawsOf(1, "after", i))).context.item()),
    );
    const share = drawn.filter((word) => word === 5).length / drawn.length;
    expect(share).toBeGreaterThan(softmax(logits)[2]! - 0.1);
    expect(share).toBeGreaterThan(0.3);
  });

  it("mixes the words of the largest weights, of sum 1, where it is soft", async () => {
    // The words' encodings are the unit vectors, so that a mixture is its weights.
    const texts = Tensor.from([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], [4, 1, 4]);
    const logits = [1, 0.5, 0, 2];
    const { search, gradient } = await searching({ texts, logits, mixture: 2 });
    const expected = [0, 1].flatMap((item) => {
      const scores = gumbels(["any"], item, 4).map((g, word) => (g + logits[word]!) / 2);
      const second = [...scores].sort((a, b) => b - a)[1]!;
      return softmax(scores.map((score) => (score >= second ? score : -Infinity)));
    });
    const mixed = await numbers((await search.draw(drawsOf(2, "any"))).context);
    mixed.forEach((weight, at) => expect(weight).toBeCloseTo(expected[at]!, 5));
    expect(mixed.filter((weight) => weight > 0)).toHaveLength(4);
    // Of Σ w_j s_j over the mixed words, with s their softmax at temperature 2: s_j (w_j - Σ w_k s_k) / 2.
    const weights = [1, 2, 3, 5];
    await search.ascend(0, drawsOf(2, "any"), ({ context }) =>
      Promise.resolve(context.mul(Tensor.from(weights, [4])).sum()),
    );
    gradient().forEach((value, word) => {
      const slopes = [0, 4].map((first) => {
        const shares = expected.slice(first, first + 4);
        const mean = shares.reduce((sum, share, j) => sum + share * weights[j]!, 0);
        return (shares[word]! * (weights[word]! - mean)) / 2;
      });
      expect(value).toBeCloseTo(-(slopes[0]! + slopes[1]!), 5);
    });
  });

  it("mixes no more words than it is asked for where some weigh the same", async () => {
    jest.spyOn(Random.prototype, "uniform").mockReturnValue(0.5);
    const texts = Tensor.from([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 1, 3]);
    const { search } = await searching({ texts, mixture: 2 });
    expect(await numbers((await search.draw(drawsOf(1, "any"))).context)).toEqual([0.5, 0.5, 0]);
  });

  it.each([0, 1 - 2 ** -53])("draws finite noise from a uniform number of %d", async (uniform) => {
    jest.spyOn(Random.prototype, "uniform").mockReturnValue(uniform);
    const { search, logits, gradient } = await searching();
    await search.ascend(0, drawsOf(2, "search", 0), ({ context }) => Promise.resolve(context.mul(weigher()).sum())); // prettier-ignore
    expect([...(await numbers(logits)), ...gradient()].every(Number.isFinite)).toBe(true);
  });

  it.each([1, 2])(
    "draws among the words of a group alone, %i at a time, and pulls no other's logits",
    async (mixture) => {
      const groups = [0, 1, 0, 1, 1];
      const { search, logits, gradient } = await searching({ groups, mixture });
      const begun = await numbers(logits);
      begun.forEach((logit, word) => expect(logit).toBeCloseTo(1 / [2, 3][groups[word]!]!, 6));
      const identity = Tensor.from(
        Array.from({ length: 25 }, (_, i) => (i % 6 === 0 ? 1 : 0)),
        [5, 1, 5],
      );
      const { search: shares } = await searching({ texts: identity, groups, mixture });
      for (let i = 0; i < 20; i++) {
        const draw = (group: number) => ({ labels: ["any", i], group });
        const drawn = await numbers((await shares.draw([draw(1), draw(0)])).context);
        groups.forEach((group, word) => expect(drawn[(group === 1 ? 5 : 0) + word]).toBe(0)); // prettier-ignore
      }
      const loss = ({ context }: Condition) => Promise.resolve(context.mul(weigher().slice(0, 0, 1)).sum());
      await search.ascend(0, [{ labels: ["any"], group: 1 }], loss);
      const pulled = gradient().map((value) => value !== 0);
      expect(pulled.filter((_, word) => groups[word] === 0)).toEqual([false, false]);
      expect(pulled.filter((_, word) => groups[word] === 1)).toContain(true);
    },
  );
});

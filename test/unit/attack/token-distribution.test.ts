import { TokenDistribution } from "../../../lib/attack/token-distribution";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

const candidates = [3, 5, 6, 9];

describe("TokenDistribution", () => {
  const create = (weightDecay = 0): Promise<TokenDistribution> =>
    TokenDistribution.create(2, candidates, { weightDecay, device: "cpu" });
  const rowsOf = (distribution: TokenDistribution): Promise<number[]> =>
    distribution
      .tensors()
      .get("rows")!
      .data()
      .then((data) => Array.from(data, Number));
  /** (2, 10), over all ids. */
  const gradient = (values: Record<number, number>): Tensor =>
    Tensor.from(
      [0, 1].flatMap(() => Array.from({ length: 10 }, (_, id) => values[id] ?? 0)),
      [2, 10],
    );

  it("starts uniform, and goes back there with Adam as new", async () => {
    const distribution = await create();
    expect(await rowsOf(distribution)).toEqual(Array(8).fill(0.25));
    const step = gradient({ 3: 0.5, 6: -0.2 });
    await distribution.descend(step, 0.01);
    const once = await rowsOf(distribution);
    expect(once).not.toEqual(Array(8).fill(0.25));
    await distribution.descend(step, 0.01);
    await distribution.reset();
    expect(await rowsOf(distribution)).toEqual(Array(8).fill(0.25));
    await distribution.descend(step, 0.01);
    expect(await rowsOf(distribution)).toEqual(once);
  });

  it("moves by Adam's first step, the learning rate, and back onto the simplex; other ids do not count", async () => {
    const distribution = await create();
    await distribution.descend(gradient({ 3: 0.5, 5: 0.001, 6: -0.2, 9: -7, 0: 100 }), 0.01);
    const rows = await rowsOf(distribution);
    [0.24, 0.24, 0.26, 0.26].forEach((value, i) => expect(rows[i]).toBeCloseTo(value, 4));
    expect(rows.slice(4)).toEqual(rows.slice(0, 4));
  });

  it("passes the gradient on after a hard tanh", async () => {
    const run = async (size: number): Promise<number[]> => {
      const distribution = await create();
      await distribution.descend(gradient({ 6: -size }), 0.01);
      await distribution.descend(gradient({ 6: -0.25 }), 0.01);
      return rowsOf(distribution);
    };
    expect(await run(50)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(0.5));
  });

  it("shrinks by rate times decay, apart from the gradient, before it goes back onto the simplex", async () => {
    const distribution = await create(1);
    const start = [0.7, 0.1, 0.1, 0.1];
    await distribution
      .tensors()
      .get("rows")!
      .copyFrom(Tensor.from([...start, ...start], [2, 4]));
    await distribution.descend(gradient({}), 0.5);
    // Half of each, and what is missing to a sum of one in equal parts.
    const expected = start.map((value) => value / 2 + 0.125);
    (await rowsOf(distribution)).forEach((value, i) => expect(value).toBeCloseTo(expected[i % 4]!, 5));
  });

  it("finds the token that costs least", async () => {
    const distribution = await create();
    for (let i = 0; i < 20; i++)
      await distribution.descend(gradient({ 3: 0.2, 5: 0.1, 6: -0.1, 9: 0.3 }), 0.05);
    expect(await distribution.likeliest()).toEqual([6, 6]);
    expect((await rowsOf(distribution))[2]).toBeCloseTo(1, 4);
  });

  it("samples ids by their probabilities", async () => {
    const distribution = await create();
    await distribution
      .tensors()
      .get("rows")!
      .copyFrom(Tensor.from([0.5, 0, 0.3, 0.2, 0, 1, 0, 0], [2, 4]));
    const counts = new Map<number, number>();
    const random = new Random(3);
    const draws = 500;
    for (let i = 0; i < draws; i++) {
      const [first, second] = Array.from(await distribution.sample(random.at(i)).data(), Number);
      counts.set(first!, (counts.get(first!) ?? 0) + 1);
      expect(second).toBe(5);
    }
    // Four standard deviations of a binomial count.
    for (const [id, probability] of [
      [3, 0.5],
      [6, 0.3],
      [9, 0.2],
    ] as const) {
      const bound = 4 * Math.sqrt(draws * probability * (1 - probability));
      expect(Math.abs(counts.get(id)! - draws * probability)).toBeLessThan(bound);
    }
    expect(counts.has(5)).toBe(false);
    expect(await distribution.likeliest()).toEqual([3, 5]);
  });
});

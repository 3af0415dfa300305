import { adversarialEmbedding } from "../../../../lib/erasure/shared/adversarial-embedding";
import type { LatentBatch } from "../../../../lib/erasure/shared/latent-source";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubJob, stubModel } from "../../../support/erasure-job";
import { loadGolden } from "../../../support/golden-model";
import { Random } from "../../../../lib/runtime/random";

const values = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** A network that predicts the latents times the first number of the text. */
const linear = stubModel(async (z, _t, context) => z.mul(context.slice(1, 0, 1).unsqueeze(-1)));

/** Latents 2 of which the noise was 1: a text's first number is best at 0.5. */
function batchOf(count: number): LatentBatch {
  const filled = (value: number): Tensor => Tensor.from(Array<number>(count).fill(value), [count, 1, 1, 1]);
  const each = Array<number>(count).fill(0);
  return { latents: filled(2), noise: filled(1), timesteps: each, texts: each, trajectories: each };
}

/** Texts of two numbers, of which the second alone widens the range. */
const texts = (numbers: [number, number][]) => ({
  context: Tensor.from(numbers.flat(), [numbers.length, 2, 1]),
});

const search = (options: object, condition = texts([[0, 1]]), iteration = 0, seed = 0) =>
  adversarialEmbedding(
    stubJob({ student: linear, base: linear, seed }),
    iteration,
    batchOf(condition.context.shape[0]!),
    condition,
    { radius: 0.2, attackSteps: 10, attackStep: 0.25, ...options },
  );

describe("adversarialEmbedding", () => {
  it("goes to the edge of the radius where the noise lies beyond it", async () => {
    const { condition, loss } = await search({});
    const [first, second] = await values(condition.context);
    expect(first).toBeCloseTo(0.2, 6);
    // What nothing depends on stays where it began: as far off as the radius at most, and within the text's range.
    expect(second).toBeGreaterThanOrEqual(0.8);
    expect(second).toBeLessThanOrEqual(1);
    expect(await loss.item()).toBeCloseTo((2 * 0.2 - 1) ** 2, 5);
  });

  it("finds the noise within a step where the radius reaches it", async () => {
    const { condition } = await search({ radius: 0.8 });
    expect(Math.abs((await values(condition.context))[0]! - 0.5)).toBeLessThanOrEqual(0.2 + 1e-6);
  });

  it("never does worse with more steps, where the loss is convex and steps are short", async () => {
    const losses = await Promise.all(
      [1, 2, 4, 8, 16].map(async (attackSteps) =>
        (await search({ attackSteps, attackStep: 0.05 })).loss.item(),
      ),
    );
    for (const [i, loss] of losses.slice(1).entries()) expect(loss).toBeLessThanOrEqual(losses[i]!);
  });

  it("keeps within the radius and the text's own range, each item by its own", async () => {
    const condition = texts([
      [0, 1],
      [0.9, 1],
      [-3, 5],
    ]);
    for (const radius of [0.05, 0.5, 20]) {
      const found = await values((await search({ radius }, condition)).condition.context);
      const own = await values(condition.context);
      found.forEach((value, i) => {
        const range = own.slice(i - (i % 2), i - (i % 2) + 2);
        expect(Math.abs(value - own[i]!)).toBeLessThanOrEqual(radius + 1e-6);
        expect(value).toBeGreaterThanOrEqual(Math.min(...range));
        expect(value).toBeLessThanOrEqual(Math.max(...range));
      });
    }
  });

  it("is the text itself within a radius of zero", async () => {
    const condition = texts([[0.3, 0.7]]);
    const found = await search({ radius: 0 }, condition);
    expect(await values(found.condition.context)).toEqual(await values(condition.context));
  });

  it("begins at other points in other iterations and for other seeds, spread evenly over the radius", async () => {
    // Of the second number nothing depends, so that it shows where a search began.
    const wide = { context: Tensor.from([-9, 1, 9], [1, 3, 1]) };
    const began = async (iteration: number, seed: number): Promise<number> => {
      const { condition } = await search({ radius: 0.2 }, wide, iteration, seed);
      return (await values(condition.context))[1]! - 1;
    };
    const offsets = await Promise.all(Array.from({ length: 60 }, (_, i) => began(i, 3)));
    expect(new Set(offsets).size).toBe(60);
    expect(await began(0, 4)).not.toBe(offsets[0]);
    expect(Math.max(...offsets)).toBeLessThanOrEqual(0.2 + 1e-6);
    // Of uniform draws mean 0, deviation r / √3: five standard errors.
    const mean = offsets.reduce((a, b) => a + b) / 60;
    const square = offsets.reduce((sum, x) => sum + x * x, 0) / 60;
    expect(Math.abs(mean)).toBeLessThan((5 * 0.2) / Math.sqrt(3 * 60));
    expect(Math.abs(square / (0.04 / 3) - 1)).toBeLessThan(5 * Math.sqrt(0.8 / 60));
  });

  it("goes against the gradient that finite differences show, through a real network", async () => {
    const golden = await loadGolden("small", { latents: 8 });
    const { model } = golden;
    const shape = [1, 4, 8, 8];
    const [latents, noise] = [new Random(1).normal(shape), new Random(2).normal(shape)];
    const batch = { latents, noise, timesteps: [401], texts: [0], trajectories: [0] };
    const around = await model.condition(["church"]);
    const parts = { base: model, student: model, seed: 5 };
    // A radius so small that where it begins does not matter; what one step has done shows which way it went.
    const radius = 1e-3;
    const one = { radius, attackSteps: 1, attackStep: 2 };
    const { condition } = await adversarialEmbedding(stubJob(parts), 0, batch, around, one);
    const own = await values(around.context);
    const found = await values(condition.context);
    const width = around.context.shape[2]!;
    const lossAt = async (element: number, by: number): Promise<number> => {
      const moved = Float32Array.from(own);
      moved[element] = moved[element]! + by;
      const context = Tensor.from(moved, around.context.shape);
      return (await model.predict(batch, { context })).to("float64").mse(noise.to("float64")).item();
    };
    // Of the concept's own token, and of the first padding.
    const elements = Array.from({ length: 24 }, (_, i) => (1 + (i % 2)) * width + ((i * 7) % width));
    const h = 0.05;
    const slopes: [number, number][] = [];
    for (const element of elements)
      slopes.push([(await lossAt(element, h) - await lossAt(element, -h)) / (2 * h), found[element]! - own[element]!]); // prettier-ignore
    const largest = Math.max(...slopes.map(([slope]) => Math.abs(slope)));
    const clear = slopes.filter(([slope]) => Math.abs(slope) > 0.1 * largest);
    expect(clear.length).toBeGreaterThan(12);
    for (const [slope, step] of clear) expect(step / radius).toBeCloseTo(-Math.sign(slope), 3);
    await golden.dispose();
  });

  it("refuses a batch that does not say what its trajectories began with", async () => {
    const batch = batchOf(1);
    delete (batch as { noise?: Tensor }).noise;
    const job = stubJob({ student: linear, base: linear });
    const options = { radius: 0.1, attackSteps: 1, attackStep: 0.25 };
    await expect(adversarialEmbedding(job, 0, batch, texts([[0, 1]]), options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

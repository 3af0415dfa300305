import { sampler } from "../../../../lib/diffusion/samplers";
import { NoiseSchedule } from "../../../../lib/diffusion/noise-schedule";
import { TrajectorySampler, type TrajectoryOptions } from "../../../../lib/erasure/shared/trajectory-sampler";
import type { ErasureContext } from "../../../../lib/erasure/method";
import type { UNet2DConditionModel } from "../../../../lib/models/unet";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubContext } from "../../../support/erasure-context";
import { Vector } from "../../../support/vector";

const TEXTS = [0.3, -0.2];
const EMPTY = 0.1;

function make(options: Partial<TrajectoryOptions> = {}) {
  const context = stubContext();
  const texts = Tensor.from(TEXTS, [2, 1, 1]);
  const empty = Tensor.from([EMPTY], [1, 1, 1]);
  const complete = { sampling: "aligned" as const, samplingSteps: 10, startGuidance: 3, ...options };
  return { context, trajectory: new TrajectorySampler(context, complete, texts, empty) };
}
const one = (value = 1): Tensor => Tensor.from([value], [1, 1, 1, 1]);

/** The library's DDIM sampler on plain numbers, with the context's guided prediction. */
function ddim(text: number, scale: number, steps: number): number {
  const run = sampler("ddim").create<Vector>(new NoiseSchedule(), 10);
  const factor = EMPTY + scale * (TEXTS[text]! - EMPTY);
  let z = new Vector([1]);
  for (let i = 0; i < steps; i++) z = run.step(i, z, z.mul(factor));
  return z.values[0]!;
}

describe("TrajectorySampler", () => {
  it.each([
    [0, 3, 4],
    [1, 3, 10],
    [0, 1, 7],
    [0, 0, 2],
  ])(
    "moves text %i at guidance %d through %i steps as the DDIM sampler does",
    async (text, startGuidance, steps) => {
      const { trajectory } = make({ startGuidance });
      const moved = await (await trajectory.move(one(), text, 0, steps)).item();
      expect(moved / ddim(text, startGuidance, steps)).toBeCloseTo(1, 5);
    },
  );

  it("gets to the same place in two legs as in one", async () => {
    const { trajectory } = make();
    const middle = await trajectory.move(one(), 0, 0, 4);
    const twice = await (await trajectory.move(middle, 0, 4, 9)).item();
    expect(twice).toBe(await (await trajectory.move(one(), 0, 0, 9)).item());
  });

  it("spends two evaluations a guided step, one without guidance, and none for predictions that are known", async () => {
    const guided = make();
    await guided.trajectory.move(one(), 0, 0, 5);
    expect(guided.context.evaluations.total).toBe(10);
    const plain = make({ startGuidance: 1 });
    await plain.trajectory.move(one(), 0, 0, 5);
    expect(plain.context.evaluations.total).toBe(5);
    const known = make();
    const expected = await (await make().trajectory.move(one(), 0, 3, 5)).item();
    const actual = await known.trajectory.move(one(), 0, 3, 5, 1, { conditional: one(TEXTS[0]) });
    expect(await actual.item()).toBeCloseTo(expected, 6);
    expect(known.context.evaluations.total).toBe(3);
    const both = make();
    const predictions = { conditional: one(TEXTS[0]), unconditional: one(EMPTY) };
    const same = await both.trajectory.move(one(), 0, 3, 5, 1, predictions);
    expect(await same.item()).toBeCloseTo(expected, 6);
    expect(both.context.evaluations.total).toBe(2);
  });

  it("follows the student, or the network that it is given", async () => {
    const asked: unknown[] = [];
    const context = stubContext({ student: {} as UNet2DConditionModel });
    const { predict } = context;
    const spying: ErasureContext = {
      ...context,
      predict: (network, ...rest) => {
        asked.push(network);
        return predict(network, ...rest);
      },
    };
    const options = { sampling: "aligned" as const, samplingSteps: 10, startGuidance: 3 };
    const texts = Tensor.zeros([1, 1, 1]);
    await new TrajectorySampler(spying, options, texts, texts).move(one(), 0, 0, 1);
    await new TrajectorySampler(spying, options, texts, texts, context.teacher).move(one(), 0, 0, 1);
    expect(asked[0]).toBe(context.student);
    expect(asked[1]).toBe(context.teacher);
    expect(asked[1]).not.toBe(asked[0]);
  });

  it("takes fewer, longer steps with a stride, the last one cut to size", async () => {
    const { context, trajectory } = make();
    await trajectory.move(one(), 0, 0, 7, 5);
    expect(context.evaluations.total).toBe(4);
    await trajectory.move(one(), 0, 2, 2);
    expect(context.evaluations.total).toBe(4);
  });

  it("draws noise that is a function of the labels alone", async () => {
    const { trajectory } = make();
    const draw = (...labels: (string | number)[]): Promise<number> => trajectory.noise(...labels).item();
    expect(await draw("pool", 1)).toBe(await make().trajectory.noise("pool", 1).item());
    expect(await draw("pool", 1)).not.toBe(await draw("pool", 2));
    expect(trajectory.noise("pool").shape).toEqual([1, 1, 1, 1]);
  });
});

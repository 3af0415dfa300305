import { sampler } from "../../../../lib/diffusion/samplers";
import { NoiseSchedule } from "../../../../lib/diffusion/noise-schedule";
import {
  textsOf,
  TrajectorySampler,
  type TrajectoryShape,
} from "../../../../lib/erasure/shared/trajectory-sampler";
import { Tensor } from "../../../../lib/runtime/tensor";
import { numbersAsTexts, stubJob, stubModel } from "../../../support/erasure-job";
import { Vector } from "../../../support/vector";

const TEXTS = [0.3, -0.2];
const EMPTY = 0.1;

function make(options: Partial<TrajectoryShape> = {}) {
  const job = stubJob();
  const [texts, empty] = [numbersAsTexts(TEXTS), numbersAsTexts([EMPTY])];
  const complete = { sampling: "aligned" as const, samplingSteps: 10, startGuidance: 3, ...options };
  const trajectory = new TrajectorySampler(job, complete, textsOf(texts), empty, job.student);
  const move = (...args: Parameters<TrajectorySampler["move"]>): Promise<Tensor> =>
    job.evaluations.run(() => trajectory.move(...args));
  return { job, trajectory, move };
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

  it("leaves the noise as it is, bit for bit, where no step is to be taken", async () => {
    const { job, trajectory, move } = make();
    const noise = trajectory.noise("start");
    expect(await (await move(noise, 0, 0, 0)).bytes()).toEqual(await noise.bytes());
    expect(job.evaluations.total).toBe(0);
  });

  it("asks for the text of the trajectory, where trajectories have texts of their own", async () => {
    const job = stubJob();
    const asked: number[][] = [];
    const texts = {
      count: 2,
      of: async (text: number, trajectory: number) => {
        asked.push([text, trajectory]);
        return numbersAsTexts([TEXTS[text]! + trajectory]);
      },
    };
    const options = { sampling: "aligned" as const, samplingSteps: 10, startGuidance: 1 };
    const sampling = new TrajectorySampler(job, options, texts, numbersAsTexts([EMPTY]), job.student);
    const plain = new TrajectorySampler(job, options, textsOf(numbersAsTexts([TEXTS[1]! + 0.5])), numbersAsTexts([EMPTY]), job.student); // prettier-ignore
    const moved = await sampling.move(one(), 1, 0, 4, 1, { trajectory: 0.5 });
    expect(await moved.item()).toBe(await (await plain.move(one(), 0, 0, 4)).item());
    expect(asked).toEqual([[1, 0.5]]);
  });

  it("spends two evaluations a guided step, one without guidance, and none for predictions that are known", async () => {
    const guided = make();
    await guided.move(one(), 0, 0, 5);
    expect(guided.job.evaluations.total).toBe(10);
    const plain = make({ startGuidance: 1 });
    await plain.move(one(), 0, 0, 5);
    expect(plain.job.evaluations.total).toBe(5);
    const known = make();
    const expected = await (await make().trajectory.move(one(), 0, 3, 5)).item();
    const actual = await known.move(one(), 0, 3, 5, 1, { known: { conditional: one(TEXTS[0]) } });
    expect(await actual.item()).toBeCloseTo(expected, 6);
    expect(known.job.evaluations.total).toBe(3);
    const both = make();
    const predictions = { conditional: one(TEXTS[0]), unconditional: one(EMPTY) };
    const same = await both.move(one(), 0, 3, 5, 1, { known: predictions });
    expect(await same.item()).toBeCloseTo(expected, 6);
    expect(both.job.evaluations.total).toBe(2);
    const half = make();
    const without = await half.move(one(), 0, 3, 5, 1, { known: { unconditional: one(EMPTY) } });
    expect(await without.item()).toBeCloseTo(expected, 6);
    expect(half.job.evaluations.total).toBe(3);
  });

  it("follows the network that it is given", async () => {
    const asked: string[] = [];
    const spy = (name: string) =>
      stubModel(async (latents) => {
        asked.push(name);
        return latents.mul(0);
      });
    const job = stubJob({ student: spy("student"), teacher: spy("teacher") });
    const options = { sampling: "aligned" as const, samplingSteps: 10, startGuidance: 3 };
    const texts = numbersAsTexts([0]);
    for (const network of [job.student, job.teacher])
      await new TrajectorySampler(job, options, textsOf(texts), texts, network).move(one(), 0, 0, 1);
    expect(asked).toEqual(["student", "teacher"]);
  });

  it("takes fewer, longer steps with a stride, the last one cut to size", async () => {
    const { job, move } = make();
    await move(one(), 0, 0, 7, 5);
    expect(job.evaluations.total).toBe(4);
    await move(one(), 0, 2, 2);
    expect(job.evaluations.total).toBe(4);
  });

  it("draws noise that is a function of the labels alone", async () => {
    const { trajectory } = make();
    const draw = (...labels: (string | number)[]): Promise<number> => trajectory.noise(...labels).item();
    expect(await draw("pool", 1)).toBe(await make().trajectory.noise("pool", 1).item());
    expect(await draw("pool", 1)).not.toBe(await draw("pool", 2));
    expect(trajectory.noise("pool").shape).toEqual([1, 1, 1, 1]);
  });
});

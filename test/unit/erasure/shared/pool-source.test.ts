import type { TrajectorySampling } from "../../../../lib/diffusion/samplers/training-trajectory";
import type { ErasureJob } from "../../../../lib/erasure/job";
import { PoolSource } from "../../../../lib/erasure/shared/pool-source";
import { textsOf, TrajectorySampler } from "../../../../lib/erasure/shared/trajectory-sampler";
import { Tensor } from "../../../../lib/runtime/tensor";
import type { PrepareReport } from "../../../../lib/training/step-report";
import { numbersAsTexts, stubJob, type StubFields } from "../../../support/erasure-job";

interface Setting {
  seed?: number;
  size?: number;
  batchSize?: number;
  textCount?: number;
  sampling?: TrajectorySampling;
}

function openPool(
  setting: Setting = {},
  fields: StubFields = {},
): { job: ErasureJob; sampler: TrajectorySampler; pool: PoolSource } {
  const { seed = 0, size = 8, batchSize = 1, textCount = 1, sampling = "aligned" } = setting;
  const job = stubJob({ seed, ...fields });
  const texts = numbersAsTexts(Array<number>(textCount).fill(0));
  const options = { sampling, samplingSteps: 50, startGuidance: 1 };
  const sampler = new TrajectorySampler(job, options, textsOf(texts), numbersAsTexts([0]), job.student);
  const aligned = sampling === "aligned";
  return { job, sampler, pool: new PoolSource(job, sampler, { size, batchSize, textCount, aligned }) };
}

async function makePool(setting: Setting = {}): Promise<ReturnType<typeof openPool>> {
  const opened = openPool(setting);
  await opened.job.evaluations.run(() => opened.pool.prepare());
  return opened;
}

/**
 * Stands for the trajectories where only the bookkeeping matters: latents hold the number of steps behind them, so
 * that what an iteration is given can be compared with the timestep that it is told.
 */
async function countingPool(setting: Setting): Promise<PoolSource> {
  const { job, sampler } = openPool(setting);
  const counting = {
    trajectory: sampler.trajectory,
    noise: () => Tensor.zeros([1, 1, 1, 1]),
    move: (_z: Tensor, _text: number, _from: number, to: number) =>
      Promise.resolve(Tensor.from([to], [1, 1, 1, 1])),
  } as unknown as TrajectorySampler;
  const { size = 8, batchSize = 1, textCount = 1, sampling } = setting;
  const options = { size, batchSize, textCount, aligned: sampling !== "compvis" };
  const pool = new PoolSource(job, counting, options);
  await pool.prepare();
  return pool;
}

const known = { conditional: Tensor.zeros([4, 1, 1, 1]) };

describe("PoolSource", () => {
  it.each<TrajectorySampling>(["aligned", "compvis"])(
    "in %s sampling visits every stop of the reference procedure equally often",
    async (sampling) => {
      const size = 8;
      const pool = await countingPool({ sampling, size });
      const { sampler } = openPool({ sampling });
      const visits = new Map<number, number>();
      const iterations = 4000;
      for (let i = 0; i < iterations; i++) {
        const { timesteps } = await pool.next(i);
        const stop = sampler.trajectory.stops.findIndex(
          ({ timestep }) => timestep.from <= timesteps[0]! && timesteps[0]! <= timestep.to,
        );
        visits.set(stop, (visits.get(stop) ?? 0) + 1);
        await pool.advance(i, known);
      }
      // A run visits every fifth of the 50 stops, from one drawn among the first five: 400 runs, so that the visits of a
      // stop are binomial with mean 80 and standard deviation 8, and alike for stops that are five apart.
      expect(visits.size).toBe(50);
      const counts = [...visits.values()];
      expect(Math.max(...counts)).toBeLessThan(80 + 5 * 8);
      expect(Math.min(...counts)).toBeGreaterThan(80 - 5 * 8);
      expect(counts.reduce((a, b) => a + b)).toBe(iterations);
    },
  );

  it("in compvis sampling gives t the reference's distribution: uniform over the schedule, by a χ² test", async () => {
    const pool = await countingPool({ sampling: "compvis" });
    const counts = new Array<number>(100).fill(0);
    const iterations = 4000;
    for (let i = 0; i < iterations; i++) {
      const { timesteps } = await pool.next(i);
      counts[Math.floor(timesteps[0]! / 10)]!++;
      await pool.advance(i, known);
    }
    const expected = iterations / counts.length;
    const chi2 = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 99 degrees of freedom: a uniform draw exceeds 163.6 once in 20 000 times; stops at even rates stay far below.
    expect(chi2).toBeLessThan(163.6);
  });

  it("has that distribution from the first iteration on: over seeds the first t is uniform, by a χ² test", async () => {
    const counts = new Array<number>(50).fill(0);
    const seeds = 750;
    for (let seed = 0; seed < seeds; seed++) {
      const { timesteps } = await (await countingPool({ seed, size: 4 })).next(0);
      counts[Math.floor(timesteps[0]! / 20)]!++;
    }
    const expected = seeds / counts.length;
    const chi2 = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 49 degrees of freedom: exceeded once in 20 000 times.
    expect(chi2).toBeLessThan(97.9);
  });

  it.each<TrajectorySampling>(["aligned", "compvis"])(
    "in %s sampling gives z at the level that belongs to t",
    async (sampling) => {
      const pool = await countingPool({ sampling, batchSize: 3 });
      const { sampler } = openPool({ sampling });
      for (let i = 0; i < 150; i++) {
        const { latents, timesteps } = await pool.next(i);
        expect(latents.shape).toEqual([3, 1, 1, 1]);
        const executed = Array.from(await latents.data(), Number);
        executed.forEach((steps, item) => {
          const levels = sampler.trajectory.stops
            .filter((stop) => stop.executed === steps)
            .map(({ timestep }) => timestep);
          expect(levels.some(({ from, to }) => from <= timesteps[item]! && timesteps[item]! <= to)).toBe(
            true,
          );
        });
        await pool.advance(i, known);
      }
    },
  );

  it("starts its members spread out over the schedule, one in each equal part", async () => {
    const pool = await countingPool({ size: 10, batchSize: 10 });
    const { timesteps } = await pool.next(0);
    const parts = timesteps.map((t) => Math.floor(((981 - t) / 20 / 50) * 10)).sort((a, b) => a - b);
    expect(parts).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("takes no member twice in a batch: with a batch of them all, each goes on by a tenth of the schedule", async () => {
    const pool = await countingPool({ size: 4, batchSize: 4 });
    const positions = (): number[] =>
      (pool.numbers() as { position: number }[]).map(({ position }) => position);
    for (let i = 0; i < 20; i++) {
      const before = positions();
      await pool.next(i);
      await pool.advance(i, known);
      positions().forEach((position, index) => {
        if (before[index]! < 45) expect(position).toBe(before[index]! + 5);
        else expect(position).toBeLessThan(5);
      });
    }
  });

  it("says what noise a trajectory began with, wherever it stands and after it has begun anew", async () => {
    const { job, sampler, pool } = await makePool({ size: 2 });
    const { schedule } = job.base;
    const from = schedule.alphaCumprod(sampler.trajectory.steps[0]!.timestep);
    const seen = new Set<number>();
    for (let i = 0; i < 30; i++) {
      const { latents, noise, levels } = await pool.next(i);
      // The network predicts no noise at all, so that a trajectory only scales what it began with.
      const [z, n] = [await latents.item(), await noise!.item()];
      expect(z / n / Math.sqrt(schedule.alphaCumprod(levels![0]!) / from)).toBeCloseTo(1, 4);
      seen.add(n);
      await pool.advance(i);
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  it("begins anew with another noise, and gives every text its turn before one comes again", async () => {
    const { job, pool } = await makePool({ size: 2, textCount: 3 });
    const members = (): { text: number; runs: number }[] => structuredClone(pool.numbers()) as never;
    const texts = members().map(({ text }) => text);
    const noises = new Set<number>();
    for (let i = 0; texts.length < 12; i++) {
      const { latents } = await pool.next(i);
      const before = members();
      await pool.advance(i, { conditional: latents.mul(0) });
      members().forEach(({ text, runs }, index) => {
        if (runs !== before[index]!.runs) texts.push(text);
      });
      noises.add(await pool.tensors().get("pool.0")!.mean().item());
    }
    for (let round = 0; round < 12; round += 3)
      expect(texts.slice(round, round + 3).sort()).toEqual([0, 1, 2]);
    expect(noises.size).toBeGreaterThan(members()[0]!.runs);
    expect(job.evaluations.total).toBeGreaterThan(0);
  });

  it("numbers its trajectories, and goes in step with another pool of as many texts", async () => {
    const setting = { size: 3, batchSize: 2, textCount: 2 };
    const [one, other] = [await makePool(setting), await makePool(setting)];
    const begun = new Map<number, string>();
    for (let i = 0; i < 60; i++) {
      const [batch, twin] = [await one.pool.next(i), await other.pool.next(i)];
      const { timesteps, levels, texts, trajectories } = batch;
      expect([twin.timesteps, twin.texts, twin.trajectories]).toEqual([timesteps, texts, trajectories]);
      expect(levels).toEqual(timesteps);
      const members = one.pool.numbers() as { trajectory: number; runs: number }[];
      members.forEach(({ trajectory, runs }, index) => {
        const run = `${index} ${runs}`;
        expect(begun.get(trajectory) ?? run).toBe(run);
        begun.set(trajectory, run);
      });
      await one.pool.advance(i, { conditional: batch.latents.mul(0.2) });
      // What is known of the network's predictions saves evaluations, and changes no course.
      await other.pool.advance(i);
    }
    expect([...begun.keys()].sort((a, b) => a - b)).toEqual([...begun.keys()].map((_, n) => n));
    expect(begun.size).toBeGreaterThan(6);
  });

  it.each<[TrajectorySampling, string]>([
    ["aligned", "nothing of its own but to begin: at guidance 1 the prediction of the loss serves it"],
    ["compvis", "one evaluation for every five levels that a member goes on"],
  ])("in %s sampling spends on moving %s", async (sampling) => {
    const { job, sampler, pool } = await makePool({ sampling, size: 4 });
    const executed = sampler.trajectory.stops.map((stop) => stop.executed).sort((a, b) => a - b);
    const positions = (): number[] =>
      (pool.numbers() as { position: number }[]).map(({ position }) => position);
    let expected = job.evaluations.total;
    for (let i = 0; i < 100; i++) {
      await pool.next(i);
      const before = positions();
      await job.evaluations.run(() => pool.advance(i, known));
      const moved = positions().findIndex((position, index) => position !== before[index]);
      const [from, to] = [before[moved]!, positions()[moved]!];
      if (to < from) expected += Math.ceil(executed[to]! / 5);
      else if (sampling === "compvis") expected += Math.ceil((executed[to]! - executed[from]!) / 5);
      expect(job.evaluations.total).toBe(expected);
    }
  });

  it("is a function of the seed, and goes on to the same from a saved state, without being filled", async () => {
    const path = async (pool: PoolSource, from: number, to: number): Promise<unknown[]> => {
      const seen: unknown[] = [];
      for (let i = from; i < to; i++) {
        const { latents, timesteps, texts } = await pool.next(i);
        seen.push([Array.from(await latents.data(), Number), timesteps, texts]);
        await pool.advance(i, { conditional: latents.mul(0.2) });
      }
      return seen;
    };
    const setting = { size: 3, batchSize: 2, textCount: 2 };
    const { pool: whole } = await makePool(setting);
    const first = await path(whole, 0, 30);
    const { pool: again } = await makePool(setting);
    expect(await path(again, 0, 30)).toEqual(first);
    expect(await path((await makePool({ ...setting, seed: 1 })).pool, 0, 30)).not.toEqual(first);

    const { pool: resumed } = openPool(setting);
    resumed.restore(JSON.parse(JSON.stringify(again.numbers())));
    for (const [name, tensor] of resumed.tensors()) await tensor.copyFrom(again.tensors().get(name)!);
    expect(await path(resumed, 30, 60)).toEqual(await path(whole, 30, 60));
  });

  it("tells of each trajectory as it is filled, and stops there when the signal fires", async () => {
    const controller = new AbortController();
    const reports: PrepareReport[] = [];
    const onPrepare = (report: PrepareReport): void => {
      reports.push(report);
      if (report.done === 3) controller.abort();
    };
    const { pool } = openPool({ size: 5 }, { onPrepare, signal: controller.signal });
    await expect(pool.prepare()).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
    expect(reports.map(({ what, done, total }) => [what, done, total])).toEqual([
      ["trajectory", 1, 5],
      ["trajectory", 2, 5],
      ["trajectory", 3, 5],
    ]);
    const seen: PrepareReport[] = [];
    const whole = openPool({ size: 5 }, { onPrepare: (report) => void seen.push(report) });
    await whole.pool.prepare();
    expect(seen.at(-1)).toEqual({ what: "trajectory", done: 5, total: 5, etaSeconds: 0 });
  });
});

import type { TrajectorySampling } from "../../../../lib/diffusion/samplers/training-trajectory";
import type { LatentSource } from "../../../../lib/erasure/shared/latent-source";
import { RestartSource } from "../../../../lib/erasure/shared/restart-source";
import { textsOf, TrajectorySampler } from "../../../../lib/erasure/shared/trajectory-sampler";
import { Tensor } from "../../../../lib/runtime/tensor";
import { numbersAsTexts, stubJob } from "../../../support/erasure-job";

function make(sampling: TrajectorySampling, batchSize = 1) {
  const job = stubJob();
  const options = { sampling, samplingSteps: 50, startGuidance: 3 };
  const [texts, empty] = [numbersAsTexts([0, 0, 0]), numbersAsTexts([0])];
  const sampler = new TrajectorySampler(job, options, textsOf(texts), empty, job.student);
  return { job, sampler, source: new RestartSource(job, sampler, batchSize, 3) };
}

describe("RestartSource", () => {
  it.each([
    ["aligned", 24.5],
    ["compvis", 25.48],
  ] as const)(
    "in %s sampling runs the reference's %d guided steps an iteration on average",
    async (sampling, mean) => {
      const { job, sampler, source } = make(sampling);
      const iterations = 120;
      let expected = 0;
      for (let i = 0; i < iterations; i++) {
        const before = job.evaluations.total;
        const { timesteps } = await job.evaluations.run(() => source.next(i));
        const spent = (job.evaluations.total - before) / 2;
        // Every iteration: as many steps as a stop with that t has behind it.
        const stops = sampler.trajectory.stops.filter(
          ({ timestep }) => timestep.from <= timesteps[0]! && timesteps[0]! <= timestep.to,
        );
        expect(stops.map(({ executed }) => executed)).toEqual([spent]);
        expected += spent;
      }
      // Steps have a standard deviation of 14.4, so a mean of 120 has 1.32: four of those.
      expect(Math.abs(expected / iterations - mean)).toBeLessThan(5.3);
    },
  );

  it("gives a batch of independent items, the same for the same iteration", async () => {
    const { source } = make("aligned", 4);
    const first = await source.next(3);
    expect(first.latents.shape).toEqual([4, 1, 1, 1]);
    const again = await make("aligned", 4).source.next(3);
    expect(again.timesteps).toEqual(first.timesteps);
    expect(await again.latents.data()).toEqual(await first.latents.data());
    expect((await source.next(4)).timesteps).not.toEqual(first.timesteps);
    expect(new Set(first.timesteps).size).toBeGreaterThan(1);
  });

  it("says what noise each item began with", async () => {
    const { job, sampler, source } = make("aligned", 4);
    const { schedule } = job.base;
    const from = schedule.alphaCumprod(sampler.trajectory.steps[0]!.timestep);
    const { latents, noise, levels } = await source.next(2);
    const [z, n] = [await latents.data(), await noise!.data()];
    // The network predicts no noise at all, so that a trajectory only scales what it began with.
    levels!.forEach((level, item) => {
      const factor = Math.sqrt(schedule.alphaCumprod(level) / from);
      expect(Number(z[item]) / Number(n[item]) / factor).toBeCloseTo(1, 4);
    });
  });

  it("numbers its trajectories", async () => {
    const { source } = make("compvis", 2);
    const { trajectories, timesteps, levels } = await source.next(3);
    expect(trajectories).toEqual([6, 7]);
    expect(levels).toEqual(timesteps.map((t) => 20 * Math.floor(t / 20) + 1));
  });

  it("draws every text", async () => {
    const { source } = make("aligned");
    const seen = new Set<number>();
    for (let i = 0; i < 30; i++) seen.add((await source.next(i)).texts[0]!);
    expect([...seen].sort()).toEqual([0, 1, 2]);
  });

  it("has no state of its own", async () => {
    const source: LatentSource = make("aligned").source;
    expect([source.tensors, source.numbers, source.restore]).toEqual([undefined, undefined, undefined]);
    await expect(source.advance(0, { conditional: Tensor.zeros([1]) })).resolves.toBeUndefined();
  });
});

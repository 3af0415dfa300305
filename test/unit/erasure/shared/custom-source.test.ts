import { KpopError } from "../../../../lib/errors";
import { CustomSource, type CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubJob, type StubFields } from "../../../support/erasure-job";

/** Latents of value 0, 1, 2, …; every second one with a batch dimension. */
async function* given(count: number, onEnd?: () => void): AsyncGenerator<CustomLatents> {
  try {
    for (let i = 0; i < count; i++)
      yield { latents: Tensor.from([i], i % 2 === 0 ? [1, 1, 1] : [1, 1, 1, 1]), timestep: 10 * i };
  } finally {
    onEnd?.();
  }
}
const source = (items: AsyncIterable<unknown>, batchSize = 1, fields: StubFields = {}): CustomSource =>
  new CustomSource(stubJob(fields), items as AsyncIterable<CustomLatents>, batchSize, 2);
const KEPT = { checkpoint: { directory: "never written", every: 1 } };
const values = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("CustomSource", () => {
  it("takes as many items as the batch holds, in order, with or without a batch dimension", async () => {
    const custom = source(given(6), 3);
    const first = await custom.next(0);
    expect(first.latents.shape).toEqual([3, 1, 1, 1]);
    expect([await values(first.latents), first.timesteps]).toEqual([
      [0, 1, 2],
      [0, 10, 20],
    ]);
    const second = await custom.next(1);
    expect([await values(second.latents), second.timesteps]).toEqual([
      [3, 4, 5],
      [30, 40, 50],
    ]);
    expect([first.trajectories, second.trajectories]).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(second.texts.every((text) => text === 0 || text === 1)).toBe(true);
    expect(custom.numbers()).toMatchObject({ count: 6 });
  });

  it("hands on what trajectories began with, where the source says it, and remembers it", async () => {
    async function* noisy(noise: number): AsyncGenerator<CustomLatents> {
      for await (const item of given(2)) yield { ...item, noise: Tensor.from([noise], [1, 1, 1]) };
    }
    const [one, other] = [source(noisy(7), 2, KEPT), source(noisy(8), 2, KEPT)];
    const batch = await one.next(0);
    expect(batch.noise!.shape).toEqual([2, 1, 1, 1]);
    expect(await values(batch.noise!)).toEqual([7, 7]);
    await other.next(0);
    expect(one.numbers()).not.toEqual(other.numbers());
    expect((await source(given(2), 2).next(0)).noise).toBeUndefined();
  });

  it("passes over what was taken before the run was interrupted", async () => {
    const [first, whole] = [source(given(6), 1, KEPT), source(given(6), 1, KEPT)];
    for (let i = 0; i < 5; i++) await whole.next(i);
    for (let i = 0; i < 4; i++) await first.next(i);
    const custom = source(given(6), 1, KEPT);
    custom.restore(JSON.parse(JSON.stringify(first.numbers())));
    expect((await custom.next(4)).timesteps).toEqual([40]);
    expect(custom.numbers()).toEqual(whole.numbers());
  });

  it("counts whole batches alone where the source stops in the middle of one", async () => {
    async function* stopping(): AsyncGenerator<CustomLatents> {
      for await (const item of given(3)) yield item;
      throw new KpopError("ABORTED", "stopped");
    }
    const custom = source(stopping(), 2, KEPT);
    await custom.next(0);
    const whole = custom.numbers();
    await expect(custom.next(1)).rejects.toMatchObject({ code: "ABORTED" });
    expect(custom.numbers()).toEqual(whole);
    const resumed = source(given(4), 2, KEPT);
    resumed.restore(whole);
    expect((await resumed.next(1)).timesteps).toEqual([20, 30]);
  });

  it("refuses to go on with other items than those that were taken before", async () => {
    const first = source(given(6), 1, KEPT);
    for (let i = 0; i < 3; i++) await first.next(i);
    async function* other(change: (item: CustomLatents, i: number) => CustomLatents) {
      let i = 0;
      for await (const item of given(6)) yield change(item, i++);
    }
    const others = [
      other((item, i) => (i === 1 ? { ...item, latents: item.latents.add(1e-3) } : item)),
      other((item, i) => (i === 2 ? { ...item, timestep: 21 } : item)),
    ];
    for (const items of others) {
      const custom = source(items, 1, KEPT);
      custom.restore(first.numbers());
      await expect(custom.next(3)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/the 3 custom latents that the saved run has taken/) as string,
      });
    }
  });

  it("says how many items came when there are too few", async () => {
    const custom = source(given(3), 2);
    await custom.next(0);
    await expect(custom.next(1)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/ended after 3 items; give as many as iterations × batchSize/) as string,
    });
  });

  it("lets the caller's iterator clean up when the run ends early", async () => {
    let ended = false;
    const custom = source(given(3, () => (ended = true)));
    await custom.next(0);
    await custom.close();
    expect(ended).toBe(true);
  });

  it.each<[string, unknown, RegExp]>([
    [
      "latents that are no tensor",
      { latents: [1], timestep: 5 },
      /latents of the custom source to be a Tensor/,
    ],
    ["latents of a batch", { latents: Tensor.zeros([2, 1, 1, 1]), timestep: 5 }, /of shape \(1, h, w\) or/],
    [
      "latents of other channels",
      { latents: Tensor.zeros([3, 1, 1]), timestep: 5 },
      /of shape \(1, h, w\) or/,
    ],
    ["no timestep", { latents: Tensor.zeros([1, 1, 1]) }, /timestep/],
    [
      "a timestep outside the schedule",
      { latents: Tensor.zeros([1, 1, 1]), timestep: 1000 },
      /timestep.*from 0 to 999/,
    ],
    ["a timestep that is no number", { latents: Tensor.zeros([1, 1, 1]), timestep: NaN }, /timestep/],
    ["no object", 5, /item of the custom source/],
  ])("refuses %s", async (_, item, message) => {
    async function* wrong(): AsyncGenerator {
      yield item;
    }
    await expect(source(wrong()).next(0)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});

import type { ErasureJob } from "../../../../lib/erasure/job";
import { Tensor } from "../../../../lib/runtime/tensor";
import { relativeError } from "../../../support/compare";
import { stubJob } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";

describe("a job's average", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const trained = (): string[] =>
    golden.model.unet.parameterNames().filter((name) => name.includes("attn2.to_k"));

  /** Runs in a job whose result's weights have moved. */
  async function running(body: (job: ErasureJob) => Promise<void>): Promise<void> {
    const student = await golden.model.derive(new Set(trained()), "float32", "unet", []);
    const job = stubJob({ base: golden.model, student, trained: trained() });
    await job.run(() => body(job));
    student.dispose();
  }
  const move = async (job: ErasureJob): Promise<void> => {
    for (const weight of job.weights().values()) await weight.copyFrom(weight.mul(0.5).add(0.25));
  };

  it("of weights that stand still has m^N of what it began with after N updates", async () => {
    await running(async (job) => {
      const average = await job.average(0.8);
      await move(job);
      for (let i = 0; i < 7; i++) await average.update();
      const left = 0.8 ** 7;
      for (const [name, weight] of job.weights()) {
        const began = golden.model.unet.parameter(name);
        const expected = began.mul(left).add(weight.mul(1 - left));
        expect(await relativeError(average.tensors().get(name)!, expected)).toBeLessThan(1e-6);
      }
    });
  });

  it("predicts with its own weights, moves no others, and becomes the result when it is written", async () => {
    await running(async (job) => {
      const average = await job.average(0.5);
      await move(job);
      const [base, student] = [await weightHashes(golden.model.unet), await weightHashes(job.student.unet)];
      const batch = { latents: Tensor.zeros([1, 4, 16, 16]).add(1), timesteps: [500] };
      const text = await job.encode(["church"]);
      const predicted = async (of: { predict: ErasureJob["student"]["predict"] }): Promise<unknown> =>
        (await of.predict(batch, text)).data();
      expect(await predicted(average.model)).toEqual(await predicted(golden.model));
      await average.update();
      expect(await predicted(average.model)).not.toEqual(await predicted(golden.model));
      expect(await predicted(average.model)).not.toEqual(await predicted(job.student));
      expect(await weightHashes(golden.model.unet)).toEqual(base);
      expect(await weightHashes(job.student.unet)).toEqual(student);
      await average.write();
      expect(await weightHashes(job.student.unet)).toEqual(await weightHashes(average.model.unet));
    });
  });

  it("is freed with its job", async () => {
    let name = "";
    const made: Tensor[] = [];
    await running(async (job) => {
      const average = await job.average(0.5);
      [name] = [...average.tensors().keys()] as [string];
      made.push(average.tensors().get(name)!);
    });
    expect(made[0]!.disposed).toBe(true);
    expect(golden.model.unet.parameter(name).disposed).toBe(false);
  });
});

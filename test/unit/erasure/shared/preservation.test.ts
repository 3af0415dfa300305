import { Preservation } from "../../../../lib/erasure/shared/preservation";
import type { ErasureJob } from "../../../../lib/erasure/job";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { numbersAsTexts, stubJob, stubModel, type StubFields } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";

const PROMPTS = { "a dog": 2, "a fish": -3 } as const;
const WEIGHT = 1.5;

/** ε is g z of the teacher and w g z of the student, for a text that is the number g. */
function setting(
  preserve: (keyof typeof PROMPTS)[],
  fields: StubFields = {},
): { job: ErasureJob; w: Tensor } {
  const w = Tensor.from([1.25], [1], { requiresGrad: true });
  const student = stubModel(async (latents, _timesteps, context) =>
    latents.mul(context.unsqueeze(-1)).mul(w),
  );
  const job = stubJob({ ...fields, preserve, student });
  job.encode = async (prompts) =>
    numbersAsTexts(prompts.map((prompt) => PROMPTS[prompt as keyof typeof PROMPTS]));
  return { job, w };
}
const batch = (iteration: number) => ({
  latents: Tensor.from([1, iteration + 2], [2, 1, 1, 1]),
  timesteps: [5, 500],
});
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const backward = async (loss: Tensor, weight = 1): Promise<Tensor> => {
  await loss.mul(weight).backward();
  return loss.detach();
};

describe("Preservation", () => {
  it("is the mean square of what the student's predictions moved by, with the weight in the gradient alone", async () => {
    const { job, w } = setting(["a dog", "a fish"]);
    const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
    let expected = 0;
    const seen = new Set<string>();
    for (let iteration = 0; iteration < 12; iteration++) {
      const { preserve } = await preservation.step(iteration, batch(iteration), backward);
      const loss = await (preserve as Tensor).item();
      const drawn = [0, 1].map((item) => [2, -3][job.random.at("preserve", iteration, item).below(2)]!);
      drawn.forEach((g) => seen.add(String(g)));
      const squares = (drawn[0]! ** 2 + (drawn[1]! * (iteration + 2)) ** 2) / 2;
      expect(loss / (0.25 ** 2 * squares)).toBeCloseTo(1, 5);
      expected += WEIGHT * 2 * 0.25 * squares;
    }
    expect(seen.size).toBe(2);
    expect((await w.grad!.item()) / expected).toBeCloseTo(1, 5);
  });

  it("is nothing, and predicts nothing, where nothing is to be preserved", async () => {
    const { job } = setting([]);
    const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
    expect(await job.evaluations.run(() => preservation.step(0, batch(0), backward))).toEqual({});
    expect(job.evaluations.total).toBe(0);
  });

  it("draws from what is named and from the neighbours equally often", async () => {
    const { job } = setting(["a dog"], { neighbours: ["a fish", "a fish"] });
    const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
    const drawn: number[] = [];
    for (let i = 0; i < 100; i++)
      drawn.push(...(await numbers((await preservation.texts(i, batch(i)))!.context)));
    const share = drawn.filter((text) => text === 2).length / drawn.length;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.15);
  });

  it("weighs squares by the noise levels where it compares pictures", async () => {
    const { job } = setting(["a dog"]);
    const preservation = await Preservation.create(job, { preserveWeight: WEIGHT, space: "picture" });
    const { preserve } = await preservation.step(0, batch(0), backward);
    const [first, second] = [5, 500].map((t) => job.base.schedule.sigma(t) ** 2);
    const expected = (0.5 ** 2 * (first! + second! * 2 ** 2)) / 2;
    expect((await (preserve as Tensor).item()) / expected).toBeCloseTo(1, 5);
  });

  it("looks for nothing where neighbours are not adversarial", async () => {
    const { job } = setting(["a dog"], { neighbours: ["a fish"] });
    const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
    expect(await job.evaluations.run(() => preservation.search(0, batch(0)))).toEqual({});
    expect(job.evaluations.total).toBe(0);
  });

  describe("with adversarial neighbours", () => {
    let golden: GoldenModel;
    beforeAll(async () => {
      golden = await loadGolden("small", { latents: 8 });
    });
    afterAll(() => golden.dispose());
    const neighbours = ["dog", "fish", "castle"];
    const latents = (): Tensor => new Random(4).normal([2, 4, 16, 16]);
    const noisy = () => ({ latents: latents(), timesteps: [100, 600] });

    it("keeps the draws of what is named, and draws neighbours as the search has them", async () => {
      const { job } = setting(["a dog"], { neighbours: ["a fish"], adversarial: true });
      const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
      const plain = await Preservation.create(setting(["a dog"], { neighbours: ["a fish"] }).job, {
        preserveWeight: WEIGHT,
      });
      for (let i = 0; i < 10; i++)
        expect(await numbers((await preservation.texts(i, batch(i)))!.context)).toEqual(
          await numbers((await plain.texts(i, batch(i)))!.context),
        );
    });

    it("moves the logits alone in a search, the weights alone in a step, and neither where nothing has changed", async () => {
      const trained = golden.model.unet.parameterNames().filter((name) => name.includes("attn2.to_k"));
      const student = await golden.model.derive(new Set(trained), "float32", "unet", []);
      const job = stubJob({ base: golden.model, student, trained, neighbours, adversarial: true });
      const learn = jest.spyOn(job, "learn");
      await job.run(async () => {
        const weights = await job.adam({ learningRate: 1e-2, iterations: 9 });
        const preservation = await Preservation.create(job, { preserveWeight: WEIGHT });
        const logits = learn.mock.calls.find(([name]) => name === "neighbours")![1].get("logits")!;
        const state = async () => [await weightHashes(student.unet), await numbers(logits)] as const;
        const before = await state();

        const none = await preservation.search(0, noisy());
        expect(await (none["harm"] as Tensor).item()).toBe(0);
        expect(await state()).toEqual(before);

        // The erasure, which moves the weights.
        await weights.update(0, async (add) => {
          const predicted = await student.predict(noisy(), await job.encode(["church", "church"]), {
            grad: true,
          });
          await add(predicted.square().mean());
        });
        const moved = await state();
        expect(moved[0]).not.toEqual(before[0]);
        expect(moved[1]).toEqual(before[1]);

        const { harm } = await preservation.search(1, noisy());
        expect(await (harm as Tensor).item()).toBeGreaterThan(0);
        const searched = await state();
        expect(searched[0]).toEqual(moved[0]);
        expect(searched[1]).not.toEqual(moved[1]);

        await weights.update(1, (add) => preservation.step(1, noisy(), add));
        const stepped = await state();
        expect(stepped[0]).not.toEqual(searched[0]);
        expect(stepped[1]).toEqual(searched[1]);
      });
      student.dispose();
    });
  });
});

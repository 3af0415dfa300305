import { Preservation } from "../../../../lib/erasure/shared/preservation";
import type { ErasureJob } from "../../../../lib/erasure/job";
import { Tensor } from "../../../../lib/runtime/tensor";
import { numbersAsTexts, stubJob, stubModel } from "../../../support/erasure-job";

const PROMPTS = { "a dog": 2, "a fish": -3 } as const;
const WEIGHT = 1.5;

/** ε is g z of the teacher and w g z of the student, for a text that is the number g. */
function setting(preserve: (keyof typeof PROMPTS)[]): { job: ErasureJob; w: Tensor } {
  const w = Tensor.from([1.25], [1], { requiresGrad: true });
  const student = stubModel(async (latents, _timesteps, context) =>
    latents.mul(context.unsqueeze(-1)).mul(w),
  );
  const job = stubJob({ preserve, student });
  job.encode = async (prompts) =>
    numbersAsTexts(prompts.map((prompt) => PROMPTS[prompt as keyof typeof PROMPTS]));
  return { job, w };
}
const batch = (iteration: number) => ({
  latents: Tensor.from([1, iteration + 2], [2, 1, 1, 1]),
  timesteps: [5, 500],
});
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
});

import { Preservation } from "../../../../lib/erasure/shared/preservation";
import type { ErasureContext } from "../../../../lib/erasure/method";
import type { UNet2DConditionModel } from "../../../../lib/models/unet";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubContext } from "../../../support/erasure-context";

const PROMPTS = { "a dog": 2, "a fish": -3 } as const;
const WEIGHT = 1.5;

/** ε is g z of the teacher and w g z of the student, for a text that is the number g. */
function setting(preserve: (keyof typeof PROMPTS)[]): { context: ErasureContext; w: Tensor } {
  const student = {} as UNet2DConditionModel;
  const w = Tensor.from([1.25], [1], { requiresGrad: true });
  const context = stubContext({
    preserve,
    student,
    predict: async (network, latents, _timesteps, condition) => {
      const noise = latents.mul(condition.unsqueeze(-1));
      return network === student ? noise.mul(w) : noise;
    },
    encode: async (prompts) =>
      Tensor.from(
        prompts.map((prompt) => PROMPTS[prompt as keyof typeof PROMPTS]),
        [prompts.length, 1, 1],
      ),
  });
  return { context, w };
}
const batch = (iteration: number) => ({
  latents: Tensor.from([1, iteration + 2], [2, 1, 1, 1]),
  timesteps: [5, 500],
  texts: [0, 0],
});

describe("Preservation", () => {
  it("is the mean square of what the student's predictions moved by, with the weight in the gradient alone", async () => {
    const { context, w } = setting(["a dog", "a fish"]);
    const preservation = await Preservation.create(context, WEIGHT);
    let expected = 0;
    const seen = new Set<string>();
    for (let iteration = 0; iteration < 12; iteration++) {
      const loss = await (await preservation!.backward(iteration, batch(iteration))).item();
      const drawn = [0, 1].map((item) => [2, -3][context.random.at("preserve", iteration, item).below(2)]!);
      drawn.forEach((g) => seen.add(String(g)));
      const squares = (drawn[0]! ** 2 + (drawn[1]! * (iteration + 2)) ** 2) / 2;
      expect(loss / (0.25 ** 2 * squares)).toBeCloseTo(1, 5);
      expected += WEIGHT * 2 * 0.25 * squares;
    }
    expect(seen.size).toBe(2);
    expect((await w.grad!.item()) / expected).toBeCloseTo(1, 5);
    preservation!.dispose();
  });

  it("is nothing where nothing is to be preserved", async () => {
    expect(await Preservation.create(setting([]).context, WEIGHT)).toBeNull();
  });
});

import { predictEach } from "../../../../lib/erasure/shared/predict-each";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubContext } from "../../../support/erasure-context";

describe("predictEach", () => {
  it("gives each condition's predictions in order, from one call for all", async () => {
    const context = stubContext();
    const calls: (readonly number[])[] = [];
    const { predict } = context;
    const counted = {
      ...context,
      predict: (...args: Parameters<typeof predict>) => {
        calls.push(args[2]);
        return predict(...args);
      },
    };
    const latents = Tensor.from([1, 10], [2, 1, 1, 1]);
    const conditions = [
      [2, 3],
      [4, 5],
      [6, 7],
    ].map((pair) => Tensor.from(pair, [2, 1, 1]));
    const each = await predictEach(
      counted,
      context.teacher,
      { latents, timesteps: [7, 8], texts: [0, 0] },
      conditions,
    );
    // The context's ε(z, t, g) is g z.
    expect(await Promise.all(each.map(async (noise) => Array.from(await noise.data(), Number)))).toEqual([
      [2, 30],
      [4, 50],
      [6, 70],
    ]);
    expect(each.map(({ shape }) => shape)).toEqual(each.map(() => [2, 1, 1, 1]));
    expect(calls).toEqual([[7, 8, 7, 8, 7, 8]]);
    expect(context.evaluations.total).toBe(6);
  });
});

import type { Intervention, StepPredictions } from "../../../lib/diffusion/interventions/intervention";
import { evaluateEach, predictNoise, type Denoiser } from "../../../lib/diffusion/predict";
import type { UNet2DConditionModel, UNetForwardOptions } from "../../../lib/models/unet";
import { Tensor } from "../../../lib/runtime/tensor";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { numbersAsTexts } from "../../support/erasure-job";

interface Call {
  timesteps: number | readonly number[];
  dtype: string;
  options: UNetForwardOptions;
}

/** ε(z, t, g) = g z, in a dtype of its own; remembers what it was asked for. */
function network(more: Partial<Denoiser> = {}): { model: Denoiser; calls: Call[] } {
  const calls: Call[] = [];
  const forward = async (
    latents: Tensor,
    timesteps: number | readonly number[],
    context: Tensor,
    options: UNetForwardOptions,
  ): Promise<Tensor> => {
    calls.push({ timesteps, dtype: latents.dtype, options });
    return latents.mul(context.unsqueeze(-1).to(latents.dtype));
  };
  const unet = { forward } as unknown as UNet2DConditionModel;
  return { model: { unet, dtype: "float32", ...more }, calls };
}
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const latents = Tensor.from([1, 10], [2, 1, 1, 1]);

describe("predictNoise", () => {
  it("computes in the model's dtype, answers in float32, and counts an evaluation for each item", async () => {
    const { model, calls } = network({ dtype: "bfloat16" });
    const counter = new EvaluationCounter();
    const noise = await counter.run(() =>
      predictNoise(model, { latents, timesteps: [7, 8] }, numbersAsTexts([2, 3])),
    );
    expect([noise.dtype, await numbers(noise)]).toEqual(["float32", [2, 30]]);
    expect(calls).toEqual([{ timesteps: [7, 8], dtype: "bfloat16", options: {} }]);
    expect(counter.total).toBe(2);
  });

  it("passes a learned prompt and the wish for a graph on to the network", async () => {
    const { model, calls } = network();
    const injection = { prompt: Tensor.zeros([1, 1]), mechanism: "concat", layers: "mid" } as const;
    await predictNoise(model, { latents, timesteps: 5 }, numbersAsTexts([2, 3]), { injection, grad: true });
    expect(calls[0]!.options).toEqual({ ...injection, grad: true });
  });

  it("gives what interventions make of the prediction, each of what the one before made", async () => {
    const seen: StepPredictions[] = [];
    const intervention = (own: string[], factor: number): Intervention => ({
      name: "test",
      version: 1,
      settings: {},
      prompts: own,
      start: () => ({
        retained: [],
        steer: (predictions) => {
          seen.push(predictions);
          return predictions.conditional.mul(factor);
        },
      }),
    });
    const { model } = network({
      interventions: [intervention(["seven"], 100), intervention([], -1)],
      condition: async (texts) => numbersAsTexts(texts.map((text) => ({ "": 1, seven: 7 })[text]!)),
    });
    const counter = new EvaluationCounter();
    const noise = await counter.run(() =>
      predictNoise(model, { latents, timesteps: [7, 8] }, numbersAsTexts([2, 3])),
    );
    expect(await numbers(noise)).toEqual([-200, -3000]);
    expect(await numbers(seen[0]!.conditional)).toEqual([2, 30]);
    expect(await numbers(seen[0]!.unconditional)).toEqual([1, 10]);
    expect(await Promise.all(seen[0]!.others.map(numbers))).toEqual([[7, 70]]);
    expect(await numbers(seen[1]!.conditional)).toEqual([200, 3000]);
    expect(seen[1]!.others).toEqual([]);
    // The prompt's prediction; then that of "" for each intervention, and of its own prompts.
    expect(counter.total).toBe(2 + 4 + 2);
  });
});

describe("evaluateEach", () => {
  it("gives each condition's predictions in order, from one call for all", async () => {
    const { model, calls } = network();
    const conditions = [
      [2, 3],
      [4, 5],
      [6, 7],
    ].map(numbersAsTexts);
    const counter = new EvaluationCounter();
    const each = await counter.run(() => evaluateEach(model, { latents, timesteps: [7, 8] }, conditions));
    expect(await Promise.all(each.map(numbers))).toEqual([
      [2, 30],
      [4, 50],
      [6, 70],
    ]);
    expect(each.map(({ shape }) => shape)).toEqual(each.map(() => [2, 1, 1, 1]));
    expect(calls.map(({ timesteps }) => timesteps)).toEqual([[7, 8, 7, 8, 7, 8]]);
    expect(counter.total).toBe(6);
    expect(await evaluateEach(model, { latents, timesteps: 7 }, [])).toEqual([]);
  });

  it("gives each item its own learned prompt under every condition, and one prompt to all as it is", async () => {
    const { model, calls } = network();
    const conditions = [numbersAsTexts([2, 3]), numbersAsTexts([4, 5])];
    const batch = { latents, timesteps: 7 };
    const [own, one] = [Tensor.from([1, 2], [2, 1, 1]), Tensor.from([1], [1, 1])];
    for (const prompt of [own, one]) {
      const injection = { prompt, mechanism: "concat", layers: "mid" } as const;
      await evaluateEach(model, batch, conditions, { injection });
    }
    expect(await numbers(calls[0]!.options.prompt!)).toEqual([1, 2, 1, 2]);
    expect(calls[1]!.options.prompt).toBe(one);
  });
});

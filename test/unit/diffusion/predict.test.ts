import type { Intervention, StepPredictions } from "../../../lib/diffusion/interventions/intervention";
import { guidedPrediction } from "../../../lib/diffusion/guidance";
import { evaluateEach, predictNoise, type Denoiser } from "../../../lib/diffusion/predict";
import type { UNet2DConditionModel, UNetForwardOptions } from "../../../lib/models/unet";
import { Tensor } from "../../../lib/runtime/tensor";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { forEachText, numbersAsTexts } from "../../support/erasure-job";

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
    return forEachText(latents, context).mul(context.unsqueeze(-1).to(latents.dtype));
  };
  const unet = { forward, config: { addition_embed_type: "" } } as unknown as UNet2DConditionModel;
  return { model: { unet, dtype: "float32", ...more }, calls };
}
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const latents = Tensor.from([1, 10], [2, 1, 1, 1]);

describe("a network that predicts v", () => {
  // ᾱ of 0.64 at timestep 1, and none at the last.
  const level = (t: number) => (t === 1 ? { signal: 0.8, noise: 0.6 } : { signal: 0, noise: 1 });
  const schedule = { predictionType: "v_prediction", level } as const;
  const batch = { latents, timesteps: [1, 999] };
  const near = async (tensor: Tensor, expected: number[]): Promise<void> =>
    (await numbers(tensor)).forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));

  it("gives ε = √ᾱ v + √(1−ᾱ) z at each item's own level, and z itself where there is noise alone", async () => {
    const { model } = network({ schedule });
    // v = 2 z and 3 z.
    const expected = [0.8 * 2 + 0.6, 10];
    await near(await predictNoise(model, batch, numbersAsTexts([2, 3])), expected);
    const both = [numbersAsTexts([2, 3]), numbersAsTexts([5, 7])] as const;
    const [first, second] = await evaluateEach(model, batch, both);
    await near(first, expected);
    await near(second, [0.8 * 5 + 0.6, 10]);
    const one = await predictNoise(model, { latents, timesteps: 1 }, numbersAsTexts([2, 3]));
    await near(one, [0.8 * 2 + 0.6, 0.8 * 30 + 6]);
  });

  it("is differentiated through the conversion, by what it predicts and by z", async () => {
    const { model } = network({ schedule });
    const leaf = Tensor.from([2, 3], [2, 1, 1]);
    const clean = latents.clone();
    for (const tensor of [leaf, clean]) await tensor.requireGrad();
    await (
      await predictNoise(model, { latents: clean, timesteps: [1, 999] }, { context: leaf }, { grad: true })
    )
      .sum()
      .backward();
    await near(leaf.grad!, [0.8 * 1, 0]);
    await near(clean.grad!, [0.8 * 2 + 0.6, 1]);
  });

  it("is combined by guidance as v, and steered by interventions as ε", async () => {
    const { model } = network({ schedule });
    const guidance = { text: numbersAsTexts([2, 3]), negative: numbersAsTexts([1, 1]), guidanceScale: 4 };
    await near(await guidedPrediction(model, batch, guidance), [1 + 4 * (2 - 1), 10 + 4 * (30 - 10)]);
    const seen: Tensor[] = [];
    const by = {
      retained: [],
      steer({ conditional, unconditional }: StepPredictions) {
        seen.push(conditional, unconditional);
        return conditional.add(0.4);
      },
    };
    const steered = await guidedPrediction(model, batch, { ...guidance, steering: [{ by, prompts: [] }] });
    await near(seen[0]!, [0.8 * 2 + 0.6, 10]);
    await near(seen[1]!, [0.8 * 1 + 0.6, 10]);
    // 0.4 of ε is 0.5 of v; where there is noise alone, v stays.
    await near(steered, [1 + 4 * (2.5 - 1), 10 + 4 * (30 - 10)]);
  });
});

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
    expect(calls.map(({ timesteps }) => timesteps)).toEqual([[7, 8]]);
    expect(counter.total).toBe(6);
    expect(await evaluateEach(model, { latents, timesteps: 7 }, [])).toEqual([]);
  });

  it("refuses conditions of another number of texts than there are latents", async () => {
    const { model } = network();
    const batch = { latents, timesteps: 7 };
    const refused = { code: "INVALID_ARGUMENT", message: expect.stringContaining("of 2 texts") as string };
    await expect(predictNoise(model, batch, numbersAsTexts([1, 2, 3, 4]))).rejects.toMatchObject(refused);
    const one = numbersAsTexts([1]);
    await expect(evaluateEach(model, batch, [one, one])).rejects.toMatchObject(refused);
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

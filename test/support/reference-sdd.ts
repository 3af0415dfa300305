import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { noGrad } from "../../lib/runtime/grad-mode";
import { requireGradients, Tensor } from "../../lib/runtime/tensor";
import type { ReferenceWeights } from "./compare";
import { ReferenceAdam, type ReferenceAdamOptions } from "./reference-adam";

/** What one iteration works on; texts one for each item of the batch. */
export interface SddBatch {
  latents: Tensor;
  timesteps: number[];
  /** c_s. */
  concepts: string[];
  preserved?: string[];
}

export interface SddSetting extends ReferenceAdamOptions {
  trained: (name: string) => boolean;
  learningRate: number;
  momentum: number;
  preserveWeight?: number;
  /** Whether the unconditional prediction is differentiated too, which it is not to be. */
  attached?: boolean;
}

/**
 * SDD written down as its equation stands: one forward at a time, AdamW element by element and the moving average, both in
 * float64.
 * @returns the losses of each iteration, and the averaged weights at the end
 */
export async function referenceSdd(
  model: StableDiffusion,
  batches: readonly SddBatch[],
  setting: SddSetting,
): Promise<ReferenceWeights & { losses: Record<string, number>[] }> {
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const values = (tensor: Tensor): Promise<Float64Array> =>
    tensor
      .detach()
      .data()
      .then((data) => Float64Array.from(data, Number));
  const averages = await Promise.all(weights.map(values));
  const adam = new ReferenceAdam(weights, setting);
  const losses: Record<string, number>[] = [];

  for (const { latents, timesteps, concepts, preserved } of batches) {
    const predict = async (texts: string[], grad: boolean): Promise<Tensor> => {
      const context = await noGrad(() => model.encode(texts));
      return student.unet.forward(latents, timesteps, context, { grad });
    };
    await requireGradients(weights, true);
    const none = concepts.map(() => "");
    const target = setting.attached === true ? await predict(none, true) : await predict(none, false);
    const sums: Record<string, Tensor> = { erase: (await predict(concepts, true)).mse(target) };
    let total = sums["erase"]!;
    if (preserved !== undefined) {
      const before = await model.unet.forward(latents, timesteps, await model.encode(preserved));
      sums["preserve"] = (await predict(preserved, true)).mse(before);
      total = total.add(sums["preserve"].mul(setting.preserveWeight ?? 1));
    }
    await total.backward();
    await adam.step(setting.learningRate);
    await requireGradients(weights, false);
    for (const [index, weight] of weights.entries()) {
      const average = averages[index]!;
      (await values(weight)).forEach((value, i) => {
        average[i] = setting.momentum * average[i]! + (1 - setting.momentum) * value;
      });
    }
    const entries = Object.entries(sums).map(async ([name, loss]) => [name, await loss.detach().item()]);
    losses.push(Object.fromEntries(await Promise.all(entries)) as Record<string, number>);
  }
  const final = names.map(
    (name, index) => [name, Tensor.from(averages[index]!, weights[index]!.shape)] as const,
  );
  student.dispose();
  return { losses, weights: new Map(final), conditioned: adam.conditioned };
}

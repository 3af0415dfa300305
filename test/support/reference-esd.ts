import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { noGrad } from "../../lib/runtime/grad-mode";
import { requireGradients, type Tensor } from "../../lib/runtime/tensor";
import type { ReferenceWeights } from "./compare";
import { ReferenceAdam } from "./reference-adam";

/** What one iteration works on; texts one for each item of the batch. */
export interface EsdBatch {
  latents: Tensor;
  timesteps: number[];
  /** c_e. */
  concepts: string[];
  /** c_f, where the concept is taken out of another's pictures. */
  from?: string[];
  preserved?: string[];
}

export interface EsdSetting {
  negativeGuidance: number;
  trained: (name: string) => boolean;
  learningRate: number;
  preserveWeight?: number;
}

/**
 * ESD written down as its equations stand, one forward at a time, one backward for the sum of the losses, and Adam
 * (arXiv 1412.6980, algorithm 1) element by element in float64: what the method's own arrangement is compared with.
 * @returns the losses of each iteration, and the trained weights at the end
 */
export async function referenceEsd(
  model: StableDiffusion,
  batches: readonly EsdBatch[],
  setting: EsdSetting,
): Promise<ReferenceWeights & { losses: Record<string, number>[] }> {
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const adam = new ReferenceAdam(weights);
  const history: Record<string, number>[] = [];

  for (const { latents, timesteps, concepts, from, preserved } of batches) {
    const encode = (list: string[]): Promise<Tensor> => noGrad(() => model.encode(list));
    const teacher = async (texts: string[]): Promise<Tensor> =>
      model.unet.forward(latents, timesteps, await encode(texts));
    const learner = async (texts: string[]): Promise<Tensor> =>
      student.unet.forward(latents, timesteps, await encode(texts), { grad: true });

    const empty = await teacher(concepts.map(() => ""));
    const start = from === undefined ? empty : await teacher(from);
    const direction = (await teacher(concepts)).sub(empty);
    const target = start.sub(direction.mul(setting.negativeGuidance));

    await requireGradients(weights, true);
    const losses: Record<string, Tensor> = { erase: (await learner(from ?? concepts)).mse(target) };
    let total = losses["erase"]!;
    if (preserved !== undefined) {
      losses["preserve"] = (await learner(preserved)).mse(await teacher(preserved));
      total = total.add(losses["preserve"].mul(setting.preserveWeight ?? 1));
    }
    await total.backward();
    await adam.step(setting.learningRate);
    await requireGradients(weights, false);

    const entries = Object.entries(losses).map(async ([name, loss]) => [name, await loss.detach().item()]);
    history.push(Object.fromEntries(await Promise.all(entries)) as Record<string, number>);
  }
  const final = new Map(names.map((name, index) => [name, weights[index]!.clone()]));
  await Promise.all([...final.values()].map((tensor) => tensor.settled()));
  student.dispose();
  return { losses: history, weights: final, conditioned: adam.conditioned };
}

import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { noGrad } from "../../lib/runtime/grad-mode";
import { requireGradients, type Tensor } from "../../lib/runtime/tensor";
import type { ReferenceWeights } from "./compare";
import { ReferenceAdam } from "./reference-adam";

/** What one iteration works on; texts one for each item of the batch. */
export interface SpaceBatch {
  latents: Tensor;
  timesteps: number[];
  /** c_e. */
  concepts: string[];
  /** c_a. */
  alternatives: string[];
  preserved?: string[];
}

export interface SpaceSetting {
  driftWeight: number;
  trained: (name: string) => boolean;
  learningRate: number;
}

/**
 * All but One as its two terms stand, one forward at a time, with one backward for each term, and Adam in float64.
 * @returns the losses of each iteration, and the trained weights at the end
 */
export async function referenceSpace(
  model: StableDiffusion,
  batches: readonly SpaceBatch[],
  setting: SpaceSetting,
): Promise<ReferenceWeights & { losses: Record<string, number>[] }> {
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const adam = new ReferenceAdam(weights);
  const history: Record<string, number>[] = [];

  for (const { latents, timesteps, concepts, alternatives, preserved } of batches) {
    const predict = async (of: StableDiffusion, texts: string[]): Promise<Tensor> => {
      const context = await noGrad(() => model.encode(texts));
      return of.unet.forward(latents, timesteps, context, { grad: of === student });
    };
    const none = concepts.map(() => "");
    const guidance = async (of: StableDiffusion, texts: string[]): Promise<Tensor> =>
      (await predict(of, texts)).sub(await predict(of, none));
    await requireGradients(weights, true);
    const erase = (await guidance(student, concepts)).mse(await guidance(model, alternatives));
    await erase.backward();
    const drift = (await predict(student, none)).mse(await predict(model, none));
    await drift.mul(setting.driftWeight).backward();
    const losses: Record<string, Tensor> = { erase, drift };
    if (preserved !== undefined) {
      const preserve = (await predict(student, preserved)).mse(await predict(model, preserved));
      await preserve.backward();
      losses["preserve"] = preserve;
    }
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

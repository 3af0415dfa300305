import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { requireGradients, Tensor } from "../../lib/runtime/tensor";
import { ReferenceAdam } from "./reference-adam";

export interface PruneSetting {
  trained: (name: string) => boolean;
  learningRate: number;
  margin: number;
  sparsityWeight: number;
}

/** A forward with the trained weights as they are, or as they were, on the texts that are given. */
export type Predict = (
  latents: Tensor,
  timesteps: readonly number[],
  texts: readonly string[],
  grad?: boolean,
) => Promise<Tensor>;

/** Losses of an iteration by name, of which the sum trains. */
export type PruneLosses = (
  iteration: number,
  student: Predict,
  teacher: Predict,
) => Promise<Record<string, Tensor>>;

/**
 * A mask learned as its equations stand: the masked weights are written into a network of their own by plain numbers, its
 * gradients give those of the logits by the chain rule, and Adam goes element by element in float64. Nothing is substituted,
 * and no graph leads to a logit.
 * @returns the losses of each iteration with the share that is masked after it, and the masked weights at the end
 */
export async function referencePrune(
  model: StableDiffusion,
  iterations: number,
  losses: PruneLosses,
  setting: PruneSetting,
): Promise<{ losses: Record<string, number>[]; weights: Map<string, Tensor> }> {
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const numbers = async (tensor: Tensor): Promise<Float64Array> =>
    Float64Array.from(await tensor.detach().data(), Number);
  const given = await Promise.all(weights.map(numbers));
  const logits = weights.map(({ shape }, k) =>
    Tensor.from(new Float32Array(given[k]!.length).fill(setting.margin), shape, { dtype: "float32" }),
  );
  const adam = new ReferenceAdam(logits);
  const count = given.reduce((sum, { length }) => sum + length, 0);
  const sigmoid = (s: number): number => 1 / (1 + Math.exp(-s));
  const by =
    (of: StableDiffusion): Predict =>
    async (latents, timesteps, texts, grad = false) =>
      of.unet.forward(latents, [...timesteps], await model.encode(texts), { grad });
  /** Writes W ⊙ m. @returns how many weights it takes */
  const mask = async (): Promise<number> => {
    let taken = 0;
    for (const [k, logit] of logits.entries()) {
      const kept = (await numbers(logit)).map((s) => Number(s > 0));
      taken += kept.filter((bit) => bit === 0).length;
      const masked = Float32Array.from(given[k]!, (weight, i) => weight * kept[i]!);
      await weights[k]!.copyFrom(Tensor.from(masked, weights[k]!.shape, { dtype: "float32" }));
    }
    return taken;
  };
  const history: Record<string, number>[] = [];
  for (let iteration = 0; iteration < iterations; iteration++) {
    await requireGradients(weights, true);
    const found = await losses(iteration, by(student), by(model));
    const values = Object.entries(found).map(async ([name, loss]) => [name, await loss.detach().item()] as const); // prettier-ignore
    history.push(Object.fromEntries(await Promise.all(values)));
    await Object.values(found).reduce((sum, loss) => sum.add(loss)).backward(); // prettier-ignore
    await requireGradients(logits, true);
    for (const [k, logit] of logits.entries()) {
      const outer = await numbers(weights[k]!.grad!);
      const gradient = (await numbers(logit)).map((s, i) => {
        const slope = sigmoid(s) * (1 - sigmoid(s));
        return slope * (outer[i]! * given[k]![i]! - setting.sparsityWeight / count);
      });
      // A leaf's gradient is what multiplies it.
      const factor = Tensor.from(Float32Array.from(gradient), logit.shape, { dtype: "float32" });
      await logit.mul(factor).sum().backward();
      await weights[k]!.zeroGrad();
    }
    await adam.step(setting.learningRate);
    await requireGradients(logits, false);
    await requireGradients(weights, false);
    history.at(-1)!["pruned"] = (await mask()) / count;
  }
  const final = new Map(names.map((name, k) => [name, weights[k]!.clone()]));
  await Promise.all([...final.values()].map((tensor) => tensor.settled()));
  student.dispose();
  return { losses: history, weights: final };
}

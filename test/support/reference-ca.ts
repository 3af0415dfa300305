import type { StableDiffusion, TrainedNetwork } from "../../lib/diffusion/stable-diffusion";
import { noGrad } from "../../lib/runtime/grad-mode";
import { requireGradients, Tensor } from "../../lib/runtime/tensor";
import type { ReferenceWeights } from "./compare";
import { ReferenceAdam, type ReferenceAdamOptions } from "./reference-adam";

/** What one iteration works on; one entry or row for each item of the batch. */
export interface CaBatch {
  /** Latents of the pictures, without noise. */
  clean: Tensor;
  noise: Tensor;
  timesteps: number[];
  /** c*. */
  anchors: string[];
  /** c. */
  targets: string[];
  preserved?: string[];
  /** (B, 1, h, w) of 1 and 0. */
  mask?: Tensor;
}

export interface CaSetting extends ReferenceAdamOptions {
  network: TrainedNetwork;
  trained: (name: string) => boolean;
  learningRate: number;
  objective: "model" | "noise";
  priorWeight: number;
}

/**
 * CA written down as its equations stand: one item and one forward at a time, one backward for the sum of the losses,
 * and AdamW element by element in float64.
 * @returns the losses of each iteration, and the trained weights at the end
 */
export async function referenceCa(
  model: StableDiffusion,
  batches: readonly CaBatch[],
  setting: CaSetting,
): Promise<ReferenceWeights & { losses: Record<string, number>[] }> {
  const names = model[setting.network].parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32", setting.network);
  const weights = names.map((name) => student[setting.network].parameter(name));
  const adam = new ReferenceAdam(weights, setting);
  const predict = async (of: StableDiffusion, z: Tensor, t: number, text: string): Promise<Tensor> => {
    const ids = Tensor.from(model.tokenizer.encode(text).flat(), [1, model.tokenizer.maxLength], {
      dtype: "int64",
    });
    return of.unet.forward(z, t, await of.textEncoder.forward(ids, { grad: true }), { grad: true });
  };
  const history: Record<string, number>[] = [];
  for (const batch of batches) {
    await requireGradients(weights, true);
    const sums: Record<string, Tensor> = {};
    const add = (name: string, loss: Tensor): void => {
      const share = loss.div(batch.timesteps.length);
      sums[name] = sums[name]?.add(share) ?? share;
    };
    for (const [item, t] of batch.timesteps.entries()) {
      const one = (tensor: Tensor): Tensor => tensor.slice(0, item, item + 1);
      const level = model.schedule.alphaCumprod(t);
      const n = one(batch.noise);
      const z = one(batch.clean)
        .mul(Math.sqrt(level))
        .add(n.mul(Math.sqrt(1 - level)));
      const error = (a: Tensor, b: Tensor): Promise<Tensor> => masked(a, b, batch.mask && one(batch.mask));
      const anchored = await predict(student, z, t, batch.anchors[item]!);
      const target = setting.objective === "model" ? anchored.detach() : n;
      add("erase", await error(await predict(student, z, t, batch.targets[item]!), target));
      if (setting.priorWeight > 0) add("prior", await error(anchored, n));
      const preserved = batch.preserved?.[item];
      if (preserved === undefined) continue;
      const before = await noGrad(() => predict(model, z, t, preserved));
      add("preserve", (await predict(student, z, t, preserved)).mse(before.detach()));
    }
    const { erase, prior, preserve } = sums;
    let total = erase!;
    if (prior !== undefined) total = total.add(prior.mul(setting.priorWeight));
    if (preserve !== undefined) total = total.add(preserve);
    await total.backward();
    await adam.step(setting.learningRate);
    await requireGradients(weights, false);
    const values = Object.entries(sums).map(async ([name, loss]) => [name, await loss.detach().item()]);
    history.push(Object.fromEntries(await Promise.all(values)) as Record<string, number>);
  }
  const final = new Map(names.map((name, index) => [name, weights[index]!.clone()]));
  await Promise.all([...final.values()].map((tensor) => tensor.settled()));
  student.dispose();
  return { losses: history, weights: final, conditioned: adam.conditioned };
}

/** The mean square over the elements that the mask keeps, which are counted one by one. */
async function masked(a: Tensor, b: Tensor, mask: Tensor | undefined): Promise<Tensor> {
  const squares = a.sub(b).square();
  if (mask === undefined) return squares.mean();
  const kept = Array.from(await mask.data(), Number).filter((value) => value === 1).length;
  return squares
    .mul(mask)
    .sum()
    .div(kept * a.shape[1]!);
}

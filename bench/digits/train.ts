import { Adam, KpopError, scope, type Tensor } from "../../lib/index";

export interface Training {
  steps: number;
  /** Of the first step; half a cosine leads it to zero. */
  learningRate: number;
  /** The loss of step 0 …, with a graph. */
  loss(step: number): Promise<Tensor>;
  /** What happens after each update. */
  updated?(): Promise<void>;
}

/** Adam on these tensors. @returns the losses @throws NUMERIC_FAILURE */
export async function train(
  parameters: readonly Tensor[],
  { steps, learningRate, loss, updated }: Training,
): Promise<number[]> {
  const adam = await Adam.create(parameters);
  const losses: number[] = [];
  try {
    for (const parameter of parameters) await parameter.requireGrad();
    for (let step = 0; step < steps; step++) {
      const value = await scope(async () => {
        const now = await loss(step);
        await now.backward();
        await adam.step((learningRate * (1 + Math.cos((Math.PI * step) / steps))) / 2);
        await updated?.();
        return now.item();
      });
      if (!Number.isFinite(value))
        throw new KpopError("NUMERIC_FAILURE", `The loss of step ${step + 1} of ${steps} is ${value}; lower the learning rate`); // prettier-ignore
      losses.push(value);
    }
  } finally {
    for (const parameter of parameters) await parameter.requireGrad(false);
    adam.dispose();
  }
  return losses;
}

import { Tensor } from "../../runtime/tensor";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import type { ErasureJob } from "../job";

/** σ(30) is 1 in float32, and the exponential of what lies beyond may be none. */
const LARGEST = 30;

/**
 * A mask over the trained weights, W ⊙ m with one m of 0 or 1 for each weight, which a logit s decides: m = 1 where
 * σ(s) > ½. Gradients go to s as if m were σ(s) (a straight-through estimator, arXiv 1308.3432).
 */
export class WeightMask {
  private readonly count: number;

  private constructor(
    private readonly weights: ReadonlyMap<string, Tensor>,
    /** s by key, leaves in float32. */
    readonly logits: ReadonlyMap<string, Tensor>,
  ) {
    this.count = [...logits.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** A mask that leaves all weights of the result as they are. @param margin s of each, > 0 */
  static create(job: ErasureJob, margin: number): WeightMask {
    const weights = job.weights();
    const logit = (weight: Tensor): Tensor => Tensor.zeros(weight.shape, weight).add(margin).detach();
    return new WeightMask(weights, new Map([...weights].map(([name, weight]) => [name, logit(weight)])));
  }

  /** W ⊙ m by key, with a graph to the logits where they ask for gradients. */
  masked(): ReadonlyMap<string, Tensor> {
    return new Map(
      [...this.logits].map(([name, logit]) => {
        const soft = sigmoid(logit);
        // In this order the difference is 0 to the bit, and the mask 0 or 1.
        const mask = soft.detach().round().add(soft.sub(soft.detach()));
        return [name, this.weights.get(name)!.mul(mask)];
      }),
    );
  }

  /** The mean of 1 - σ(s) over all weights, a scalar with a graph. */
  sparsity(): Tensor {
    return this.mean((logit) => sigmoid(logit).neg().add(1));
  }

  /** The share of the weights that are masked, a scalar. */
  pruned(): Tensor {
    return noGrad(() => scope(() => this.mean((logit) => sigmoid(logit).round().neg().add(1))));
  }

  /** Sets the weights that are masked to 0. */
  async write(): Promise<void> {
    for (const [name, weight] of this.weights) {
      const masked = (): Tensor => weight.mul(sigmoid(this.logits.get(name)!).round());
      await noGrad(() => scope(() => weight.copyFrom(masked())));
    }
  }

  private mean(of: (logit: Tensor) => Tensor): Tensor {
    return Tensor.stack([...this.logits.values()].map((logit) => of(logit).sum()))
      .sum()
      .div(this.count);
  }
}

function sigmoid(logit: Tensor): Tensor {
  return logit.clamp(-LARGEST, LARGEST).neg().exp().add(1).pow(-1);
}

import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { StatePart } from "../../training/run-state";
import type { ErasureJob } from "../job";

/**
 * An exponential moving average of the trained weights, θ̄ ← m θ̄ + (1 − m) θ': a model of its own, which shares all else
 * with the result. After N updates m^N of it is the weights that it began with.
 */
export class Average implements StatePart {
  private constructor(
    private readonly job: ErasureJob,
    /** Predicts with the averaged weights. */
    readonly model: StableDiffusion,
    private readonly momentum: number,
  ) {}

  /** At the weights as they are. @param momentum m, from 0 to 1 */
  static async create(job: ErasureJob, momentum: number): Promise<Average> {
    const model = await job.student.derive(new Set(job.trained), "float32", job.network, []);
    return new Average(job, model, momentum);
  }

  /** Takes the result's weights in, once they have been updated. */
  async update(): Promise<void> {
    const average = this.tensors();
    for (const [name, weight] of this.job.weights()) {
      const mean = average.get(name)!;
      const next = () => mean.mul(this.momentum).add(weight.detach().mul(1 - this.momentum));
      await scope(() => noGrad(() => mean.copyFrom(next())));
    }
  }

  /** Makes the average the result. */
  async write(): Promise<void> {
    const average = this.tensors();
    for (const [name, weight] of this.job.weights()) await weight.copyFrom(average.get(name)!);
  }

  tensors(): ReadonlyMap<string, Tensor> {
    const network = this.model[this.job.network];
    return new Map(this.job.trained.map((name) => [name, network.parameter(name)]));
  }

  dispose(): void {
    this.model.dispose();
  }
}

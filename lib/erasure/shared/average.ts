import type { Lora } from "../../diffusion/lora";
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
    /** Their change, where a LoRA is learned: it is the factors that are averaged, so that their rank stays. */
    private readonly lora: Lora | null,
    private readonly momentum: number,
  ) {}

  /** At the weights as they are. @param momentum m, from 0 to 1 */
  static async create(job: ErasureJob, momentum: number): Promise<Average> {
    const model = await job.student.derive(new Set(job.trained), "float32", job.network, []);
    const lora = job.lora === null ? null : await job.lora.copy(job.base.device);
    return new Average(job, model, lora, momentum);
  }

  /** What a LoRA begins with may have been filtered since. */
  async prepare(): Promise<void> {
    for (const [name, factor] of this.lora?.tensors() ?? [])
      await factor.copyFrom(this.job.learned().get(name)!);
  }

  /** Takes what has been learned in, once it has been updated. */
  async update(): Promise<void> {
    const average = this.tensors();
    for (const [name, weight] of this.job.learned()) {
      const mean = average.get(name)!;
      const next = () => mean.mul(this.momentum).add(weight.detach().mul(1 - this.momentum));
      await scope(() => noGrad(() => mean.copyFrom(next())));
    }
    await this.restored();
  }

  /** Makes the average the result. */
  async write(): Promise<void> {
    const average = this.tensors();
    for (const [name, weight] of this.job.learned()) await weight.copyFrom(average.get(name)!);
    await this.job.settle();
  }

  /** The averaged weights, by key. */
  weights(): ReadonlyMap<string, Tensor> {
    const network = this.model[this.job.network];
    return new Map(this.job.trained.map((name) => [name, network.parameter(name)]));
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return this.lora?.tensors() ?? this.weights();
  }

  async restored(): Promise<void> {
    await this.lora?.write(this.model.unet, this.job.teacher.unet);
  }

  dispose(): void {
    this.model.dispose();
    this.lora?.dispose();
  }
}

import { rows, textsIn, type Condition } from "../../diffusion/condition";
import { noGrad } from "../../runtime/grad-mode";
import type { Backward, Losses } from "../../training/player";
import type { ErasureRun } from "../parts";
import type { LatentBatch } from "./latent-source";

/**
 * The loss that holds prompts in place: ‖ε_θ'(z_t, t, c_r) - ε_θ(z_t, t, c_r)‖², c_r drawn for each item from the
 * prompts to preserve. z_t is the one that the concept is erased on.
 */
export class Preservation {
  private constructor(
    private readonly job: ErasureRun,
    /** Of the m prompts; null where nothing is to be preserved. */
    private readonly prompts: Condition | null,
    private readonly weight: number,
  ) {}

  static async create(job: ErasureRun, weight: number): Promise<Preservation> {
    return new Preservation(job, job.preserve.length === 0 ? null : await job.encode(job.preserve), weight);
  }

  /** Adds the gradient of the weighted loss to the trained weights'. @returns the loss, unweighted, as `preserve` */
  async step(
    iteration: number,
    batch: Pick<LatentBatch, "latents" | "timesteps">,
    backward: Backward,
  ): Promise<Losses> {
    const { job, prompts } = this;
    if (prompts === null) return {};
    const drawn = batch.timesteps.map((_, item) =>
      job.random.at("preserve", iteration, item).below(textsIn(prompts)),
    );
    const retained = rows(prompts, drawn);
    const before = await noGrad(() => job.teacher.predict(batch, retained));
    const now = await job.student.predict(batch, retained, { grad: true });
    return { preserve: await backward(now.mse(before), this.weight) };
  }
}

import { rows, type Condition } from "../../diffusion/condition";
import { noGrad } from "../../runtime/grad-mode";
import type { Backward, Losses } from "../../training/player";
import type { ErasureRun } from "../parts";
import type { LatentBatch } from "./latent-source";
import { fillTemplates } from "./texts";

type Batch = Pick<LatentBatch, "latents" | "timesteps">;

/**
 * The loss that holds prompts in place: ‖ε_θ'(z_t, t, c_r) - ε_θ(z_t, t, c_r)‖², c_r drawn for each item from the
 * prompts to preserve and the neighbours, from either equally often. z_t is the one that the concept is erased on.
 */
export class Preservation {
  private constructor(
    private readonly job: ErasureRun,
    /** All of them; null where there are none. */
    private readonly prompts: Condition | null,
    /** How many the user named, and how many neighbours come behind; kinds without any left out. */
    private readonly counts: readonly number[],
    private readonly weight: number,
  ) {}

  /** @param options.templates ways to name a neighbour. Default the bare word */
  static async create(
    job: ErasureRun,
    { preserveWeight, templates = ["{}"] }: { preserveWeight: number; templates?: readonly string[] },
  ): Promise<Preservation> {
    const near = fillTemplates(job.neighbours, templates).map(({ text }) => text);
    const texts = [...job.preserve, ...near];
    const counts = [job.preserve.length, near.length].filter((count) => count > 0);
    return new Preservation(job, texts.length === 0 ? null : await job.encode(texts), counts, preserveWeight);
  }

  /** Texts c_r to hold in an iteration, one for each item; null where there are none. */
  texts(iteration: number, { timesteps }: Batch): Condition | null {
    const { job, prompts, counts } = this;
    if (prompts === null) return null;
    const [first = 0] = counts;
    const indices = timesteps.map((_, item) => {
      const kind = counts.length === 1 ? 0 : job.random.at("preserve", "kind", iteration, item).below(2);
      return kind * first + job.random.at("preserve", iteration, item).below(counts[kind]!);
    });
    return rows(prompts, indices);
  }

  /** Adds the gradient of the weighted loss to the trained weights'. @returns the loss, unweighted, as `preserve` */
  async step(iteration: number, batch: Batch, backward: Backward): Promise<Losses> {
    const texts = this.texts(iteration, batch);
    if (texts === null) return {};
    const before = await noGrad(() => this.job.teacher.predict(batch, texts));
    const now = await this.job.student.predict(batch, texts, { grad: true });
    return { preserve: await backward(now.mse(before), this.weight) };
  }
}

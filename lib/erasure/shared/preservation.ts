import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { LatentBatch } from "./latent-source";
import { rows } from "./rows";

/**
 * The loss that holds prompts in place: ‖ε_θ'(z_t, t, c_r) - ε_θ(z_t, t, c_r)‖², c_r drawn for each item from the
 * prompts to preserve. z_t is the one that the concept is erased on.
 */
export class Preservation {
  private constructor(
    private readonly context: ErasureContext,
    /** (m, L, d) */
    private readonly prompts: Tensor,
    private readonly weight: number,
  ) {}

  /** @returns null where nothing is to be preserved */
  static async create(context: ErasureContext, weight: number): Promise<Preservation | null> {
    if (context.preserve.length === 0) return null;
    return new Preservation(context, await context.encode(context.preserve), weight);
  }

  /** Adds the gradient of the weighted loss to the trained weights'. @returns the loss, unweighted */
  async backward(
    iteration: number,
    { latents, timesteps }: Pick<LatentBatch, "latents" | "timesteps">,
  ): Promise<Tensor> {
    const { context, prompts } = this;
    const drawn = timesteps.map((_, item) =>
      context.random.at("preserve", iteration, item).below(prompts.shape[0]!),
    );
    const retained = rows(prompts, drawn); // (B, L, d)
    const before = await noGrad(() => context.predict(context.teacher, latents, timesteps, retained));
    const now = await context.predict(context.student, latents, timesteps, retained, { grad: true });
    const loss = now.mse(before);
    await loss.mul(this.weight).backward();
    return loss;
  }

  dispose(): void {
    this.prompts.dispose();
  }
}

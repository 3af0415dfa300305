import { finite } from "../../check";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { unscoped } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

/**
 * Scores a round of a method that goes in rounds: the higher, the better. The model is a view of what is erased so far,
 * and holds until the function is done: it is for `generate`, `evaluate`, `attack` and `save`.
 */
export type RoundScore = (model: StableDiffusion, round: number) => number | Promise<number>;

/** Keeps the weights of the round with the highest score, the first of equals; without a score those of the last. */
export class BestRound {
  private best: { readonly score: number; readonly weights: readonly Tensor[] } | null = null;

  /** @param total parts of the whole run, of which each look is one, reported with its `score` */
  constructor(
    private readonly job: ErasureJob,
    private readonly validate: RoundScore | undefined,
    private readonly total: number,
  ) {}

  /** @throws INVALID_ARGUMENT where the score is no finite number, and what the function throws */
  async look(round: number): Promise<void> {
    const { job, validate, total } = this;
    if (validate === undefined) return;
    const view = await job.student.derive(new Set(), undefined, "unet", job.base.interventions);
    let score = NaN;
    const judge = async (): Promise<{ score: number }> => {
      score = finite("what validate gives", await unscoped(async () => validate(view, round)));
      return { score };
    };
    try {
      await job.closedForm(1, judge, total);
    } finally {
      view.dispose();
    }
    if (this.best !== null && this.best.score >= score) return;
    this.best?.weights.forEach((tensor) => tensor.dispose());
    this.best = { score, weights: [...job.weights().values()].map((tensor) => tensor.clone()) };
  }

  /** Puts the best round's weights in their place. */
  async restore(): Promise<void> {
    if (this.best === null) return;
    for (const [index, tensor] of [...this.job.weights().values()].entries())
      await tensor.copyFrom(this.best.weights[index]!);
  }
}

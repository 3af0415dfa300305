import { joined, rows, type Condition } from "../../diffusion/condition";
import { predictNoise, type Denoiser } from "../../diffusion/predict";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { Backward, Losses } from "../../training/player";
import type { ErasureRun } from "../parts";
import type { LatentBatch } from "./latent-source";
import { errorIn, type ErrorSpace } from "./prediction-error";
import { fillTemplates } from "./texts";
import { drawsOf, WordSearch } from "./word-search";

type Batch = Pick<LatentBatch, "latents" | "timesteps" | "levels">;

/** How prompts are held in place. */
export interface PreservationOptions {
  readonly preserveWeight: number;
  /** Ways to name a neighbour. Default the bare word. */
  readonly templates?: readonly string[];
  /** Where predictions are compared. Default "noise". */
  readonly space?: ErrorSpace;
  /** What is to predict as the teacher does. Default the job's student. */
  readonly student?: Denoiser;
}

/**
 * The loss that holds prompts in place: ‖ε_θ'(z_t, t, c_r) - ε_θ(z_t, t, c_r)‖², c_r drawn for each item from the
 * prompts to preserve and the neighbours, from either equally often. z_t is the one that the concept is erased on.
 *
 * Where neighbours are adversarial, c_r is one that a search leads to, which takes a step up this loss after each update
 * of the weights (EAP, arXiv 2410.15618), on the same z_t.
 */
export class Preservation {
  private constructor(
    private readonly job: ErasureRun,
    /** All of them; null where there are none. */
    private readonly prompts: Condition | null,
    /** How many the user named, and how many neighbours come behind; kinds without any left out. */
    private readonly counts: readonly number[],
    private readonly adversary: WordSearch | null,
    private readonly options: PreservationOptions,
  ) {}

  static async create(job: ErasureRun, options: PreservationOptions): Promise<Preservation> {
    const near = fillTemplates(job.neighbours, options.templates ?? ["{}"]).map(({ text }) => text);
    const texts = [...job.preserve, ...near];
    const counts = [job.preserve.length, near.length].filter((count) => count > 0);
    const prompts = texts.length === 0 ? null : await job.encode(texts);
    const adversary =
      job.adversarial && near.length > 0
        ? await WordSearch.create(
            job,
            "neighbours",
            rows(
              prompts!,
              near.map((_, at) => at + job.preserve.length),
            ),
          )
        : null;
    return new Preservation(job, prompts, counts, adversary, options);
  }

  /** Texts c_r to hold in an iteration, one for each item; null where there are none. */
  async texts(iteration: number, { timesteps }: Batch): Promise<Condition | null> {
    const { adversary, job, prompts, counts } = this;
    if (prompts === null) return null;
    const [first = 0] = counts;
    const kinds = timesteps.map((_, item) =>
      counts.length === 1 ? 0 : job.random.at("preserve", "kind", iteration, item).below(2),
    );
    const indices = kinds.map(
      (kind, item) => kind * first + job.random.at("preserve", iteration, item).below(counts[kind]!),
    );
    if (adversary === null) return rows(prompts, indices);
    const found = await adversary.draw(drawsOf(kinds.length, "preserve", iteration));
    if (counts.length === 1) return found;
    const both = joined([rows(prompts, indices), found]);
    return rows(both, kinds.map((kind, item) => kind * kinds.length + item)); // prettier-ignore
  }

  /** Adds the gradient of the weighted loss to the trained weights'. @returns the loss, unweighted, as `preserve` */
  async step(iteration: number, batch: Batch, backward: Backward): Promise<Losses> {
    const texts = await this.texts(iteration, batch);
    if (texts === null) return {};
    return { preserve: await backward(await this.loss(batch, texts), this.options.preserveWeight) };
  }

  /**
   * A step of the search for what is harmed most, where neighbours are adversarial. Called once an iteration, when the
   * weights have been updated.
   * @returns the loss of what it drew, as `harm`
   */
  async search(iteration: number, batch: Batch): Promise<Losses> {
    if (this.adversary === null) return {};
    const loss = (words: Condition): Promise<Tensor> => this.loss(batch, words);
    const draws = drawsOf(batch.timesteps.length, "search", iteration);
    return { harm: await this.adversary.ascend(iteration, draws, loss) };
  }

  private async loss(batch: Batch, texts: Condition): Promise<Tensor> {
    const { job, options } = this;
    const before = await noGrad(() => job.teacher.predict(batch, texts));
    const now = await predictNoise(options.student ?? job.student, batch, texts, { grad: true });
    return errorIn(options.space ?? "noise", job.base.schedule)(now, before, batch);
  }
}

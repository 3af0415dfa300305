import { encodePrompts } from "../diffusion/conditioning";
import { splicePrompt } from "../diffusion/learned-tokens";
import { noisyLatents } from "../diffusion/noisy-latents";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { Tensor } from "../runtime/tensor";
import type { Job } from "../training/job";
import type { Losses, Player } from "../training/player";
import type { ParsedInversionOptions } from "./inversion-options";

/** What is asked of a set of embeddings beside the denoising loss. */
export interface EmbeddingConstraint {
  /** A term to add to the loss, of all embeddings (N, n, d); null where there is none. */
  penalty(embeddings: Tensor): Tensor | null;
  /** Where the embeddings are put after a step, (N, n, d). */
  project(embeddings: Tensor): Tensor;
}

/**
 * N members' embeddings while they are learned (arXiv 2208.01618): each iteration takes one step of Adam on the mean over
 * members of ‖ε(z_t, t, c(v)) − n‖², c(v) being a caption with the member's vectors v in it, and z_t noised latents of a
 * picture. The network and the text encoder stay as they are.
 */
export class EmbeddingTraining {
  private constructor(
    private readonly model: StableDiffusion,
    private readonly options: ParsedInversionOptions,
    private readonly latents: Tensor,
    /** (N, n, d) float32, a leaf. */
    readonly embeddings: Tensor,
    private readonly constraint: EmbeddingConstraint | null,
    private readonly player: Player,
    private readonly random: Random,
  ) {}

  /**
   * @param latents of the pictures, (M, 4, h, w) float32
   * @param start (N, n, d) float32 on the model's device; trained in place
   * @param part its name in the job's state and the source of its draws, where a job has several
   * @throws INVALID_ARGUMENT where a template leaves no room for the vectors
   */
  static async create(
    job: Job,
    model: StableDiffusion,
    options: ParsedInversionOptions,
    latents: Tensor,
    start: Tensor,
    constraint: EmbeddingConstraint | null,
    part: { name: string; random: Random } = { name: "embeddings", random: job.random },
  ): Promise<EmbeddingTraining> {
    const { token, templates } = options;
    const shape = { token, embeddings: Tensor.zeros(start.shape.slice(1)) };
    for (const template of templates)
      splicePrompt(model.tokenizer, template.replaceAll("{}", () => token), [shape]); // prettier-ignore
    shape.embeddings.dispose();
    const player = await job.learn(part.name, new Map([["embeddings", start]]), options);
    return new EmbeddingTraining(model, options, latents, start, constraint, player, part.random);
  }

  /** One update of every member. */
  async step(iteration: number): Promise<Losses> {
    const { constraint, embeddings, player, random } = this;
    const members = embeddings.shape[0]!;
    const losses = await player.update(iteration, async (backward) => {
      const each: Tensor[] = [];
      // One member at a time: memory does not grow with the set.
      for (let member = 0; member < members; member++) {
        const loss = await this.denoising(member, random.at("step", iteration, member));
        await backward(loss.div(members));
        each.push(loss.detach());
      }
      const penalty = constraint?.penalty(embeddings) ?? null;
      return {
        denoising: Tensor.stack(each).mean(),
        penalty: penalty === null ? null : await backward(penalty),
      };
    });
    if (constraint !== null)
      await noGrad(() => embeddings.copyFrom(constraint.project(embeddings).to("float32")));
    return losses;
  }

  /** The loss of one member on pictures drawn for it. */
  private async denoising(member: number, random: Random): Promise<Tensor> {
    const { latents: clean, model, options } = this;
    const { batchSize, templates, token } = options;
    const draws = Array.from({ length: batchSize }, (_, item) => random.at("item", item));
    const pictures = draws.map((draw) => draw.at("picture").below(clean.shape[0]!));
    const captions = draws.map((draw) =>
      templates[draw.at("caption").below(templates.length)]!.replaceAll("{}", () => token),
    );
    const batch = noisyLatents(model.schedule, clean.rows(pictures), random.at("noise"));
    const vectors = this.embeddings.slice(0, member, member + 1).squeeze(0); // (n, d)
    const tokens = [{ token, embeddings: vectors }];
    const condition = await encodePrompts(model, captions, { tokens, grad: true });
    return (await model.predict(batch, condition, { grad: true })).mse(batch.noise);
  }
}

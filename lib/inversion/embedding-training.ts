import { createHash } from "node:crypto";
import { encodePrompts } from "../diffusion/conditioning";
import { splicePrompt } from "../diffusion/learned-tokens";
import { hashChanges, hashInputs } from "../diffusion/model-hash";
import { noisyLatents } from "../diffusion/noisy-latents";
import { encodePictures } from "../diffusion/picture-latents";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { Adam } from "../nn/optimizer";
import { parseSchedule, type ScheduleFunction } from "../nn/schedules";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { Tensor } from "../runtime/tensor";
import type { EvaluationCounter } from "../training/evaluations";
import { readLosses } from "../training/read-losses";
import type { TrainingState } from "../training/run-state";
import type { ParsedInversionOptions } from "./inversion-options";

/** What is asked of a set of embeddings beside the denoising loss. */
export interface EmbeddingConstraint {
  /** A term to add to the loss, of all embeddings (N, n, d); null where there is none. */
  penalty(embeddings: Tensor): Tensor | null;
  /** Where the embeddings are put after a step, (N, n, d). */
  project(embeddings: Tensor): Tensor;
}

/** Pictures, and what the result depends on beside the options. */
export interface InversionMaterial {
  /** (M, 4, h, w), float32. */
  readonly latents: Tensor;
  readonly resized: readonly number[];
  /** SHA-256 of the model's files, by place. */
  readonly inputs: Record<string, string>;
  /** For a saved state: hashes of weights changed in memory and of the pictures. */
  readonly identity: object;
}

/** @throws what `encodePictures` throws */
export async function inversionMaterial(
  model: StableDiffusion,
  { images, mirror }: ParsedInversionOptions,
  signal: AbortSignal | undefined,
): Promise<InversionMaterial> {
  const inputs = await hashInputs(model, signal);
  const changes = await hashChanges(model);
  const { latents, resized } = await encodePictures(model, images, { mirrored: mirror, signal });
  const pictures = createHash("sha256")
    .update(await latents.bytes())
    .digest("hex");
  const { device, dtype } = model;
  return { latents, resized, inputs, identity: { inputs, changes, pictures, device, dtype } };
}

/**
 * N members' embeddings while they are learned (arXiv 2208.01618): each iteration takes one step of Adam on the mean over
 * members of ‖ε(z_t, t, c(v)) − n‖², c(v) being a caption with the member's vectors v in it, and z_t noised latents of a
 * picture. The network and the text encoder stay as they are.
 */
export class EmbeddingTraining implements TrainingState {
  private readonly learningRate: ScheduleFunction;

  private constructor(
    private readonly model: StableDiffusion,
    private readonly options: ParsedInversionOptions,
    private readonly latents: Tensor,
    /** (N, n, d) float32, a leaf. */
    readonly embeddings: Tensor,
    private readonly constraint: EmbeddingConstraint | null,
    private readonly optimizer: Adam,
    private readonly random: Random,
    private readonly evaluations: EvaluationCounter,
  ) {
    this.learningRate = parseSchedule("learningRate", options.learningRate);
  }

  /**
   * @param start (N, n, d) float32 on the model's device; trained in place, freed by `dispose`
   * @throws INVALID_ARGUMENT where a template leaves no room for the vectors
   */
  static async create(
    model: StableDiffusion,
    options: ParsedInversionOptions,
    latents: Tensor,
    start: Tensor,
    job: { constraint: EmbeddingConstraint | null; random: Random; evaluations: EvaluationCounter },
  ): Promise<EmbeddingTraining> {
    const { token, templates } = options;
    const shape = { token, embeddings: Tensor.zeros(start.shape.slice(1)) };
    for (const template of templates)
      splicePrompt(
        model.tokenizer,
        template.replaceAll("{}", () => token),
        [shape],
      );
    shape.embeddings.dispose();
    const optimizer = await Adam.create([start]);
    const { constraint, random, evaluations } = job;
    return new EmbeddingTraining(model, options, latents, start, constraint, optimizer, random, evaluations);
  }

  /** One update of every member. */
  async step(iteration: number): Promise<Record<string, number>> {
    const { constraint, embeddings, options } = this;
    const members = embeddings.shape[0]!;
    await embeddings.requireGrad();
    const losses: Tensor[] = [];
    // One member at a time: memory does not grow with the set.
    for (let member = 0; member < members; member++) {
      const loss = await this.denoising(member, this.random.at("step", iteration, member));
      await loss.div(members).backward();
      losses.push(loss.detach());
    }
    const penalty = constraint?.penalty(embeddings) ?? null;
    await penalty?.backward();
    await this.optimizer.step(this.learningRate(iteration, options.iterations));
    await embeddings.requireGrad(false);
    if (constraint !== null)
      await noGrad(() => embeddings.copyFrom(constraint.project(embeddings).to("float32")));
    return readLosses({ denoising: Tensor.stack(losses).mean(), penalty: penalty?.detach() ?? null });
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
    const at = Tensor.from(pictures, [batchSize], { dtype: "int64", device: model.device });
    const { latents, noise, timesteps } = noisyLatents(
      model.schedule,
      clean.indexSelect(0, at),
      random.at("noise"),
    );
    const vectors = this.embeddings.slice(0, member, member + 1).squeeze(0); // (n, d)
    const context = await encodePrompts(model.tokenizer, model.textEncoder, captions, model.device, {
      tokens: [{ token, embeddings: vectors }],
      grad: true,
    });
    this.evaluations.add(batchSize);
    const predicted = await model.unet.forward(latents.to(model.dtype), timesteps, context, { grad: true });
    return predicted.to("float32").mse(noise);
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([["embeddings", this.embeddings], ...this.optimizer.state()]);
  }

  numbers(): unknown {
    return null;
  }

  restore(): void {}

  dispose(): void {
    this.optimizer.dispose();
    this.embeddings.dispose();
  }
}

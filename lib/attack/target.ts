import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { Classifier } from "../evaluation/classifier";
import type { Image } from "../io/image";
import type { Drawing } from "./attack-options";
import type { AttackInput } from "./input";

/** One picture, and whether it shows the concept. */
export interface Verdict {
  readonly image: Image;
  readonly seed: number;
  readonly hit: boolean;
}

/** Draws what a model makes of inputs, and lets a classifier say whether it is the concept. */
export class Target {
  constructor(
    private readonly model: StableDiffusion,
    private readonly classifier: Classifier,
    /** The classifier's output for the concept. */
    private readonly output: number,
    private readonly drawing: Drawing,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Pictures of an input from the noise of seed, seed + 1, …; a hit is one that the classifier takes for the concept
   * before any other class.
   */
  async try(
    { prompt, tokens, key, latents, lora }: AttackInput,
    seed: number,
    count: number,
  ): Promise<Verdict[]> {
    const { drawing, signal } = this;
    const job = signal === undefined ? {} : { signal };
    using changed = await lora?.applyTo(this.model);
    const images = await (changed ?? this.model).generate(prompt, {
      ...drawing,
      ...job,
      seed,
      count,
      ...(tokens === undefined ? {} : { tokens }),
      ...(key === undefined ? {} : { key }),
      ...(latents === undefined ? {} : { latents, sampler: "ddim" as const, negativePrompt: "" }),
    });
    const rankings = await this.classifier.classify(images, job);
    return images.map((image, i) => ({
      image,
      seed: seed + i,
      hit: rankings[i]!.indices[0] === this.output,
    }));
  }
}

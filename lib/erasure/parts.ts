import type { Condition } from "../diffusion/condition";
import type { Lora } from "../diffusion/lora";
import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import type { Job } from "../training/job";

/** What an erasure works on. */
export interface ErasureParts {
  /** The model as it came, and its bare networks. */
  readonly base: StableDiffusion;
  readonly teacher: StableDiffusion;
  readonly student: StableDiffusion;
  readonly network: TrainedNetwork;
  readonly trained: readonly string[];
  /** What is trained in the place of weights: a change of low rank. */
  readonly lora: Lora | null;
  readonly concepts: readonly string[];
  /** Prompts that the user wants held in place. */
  readonly preserve: readonly string[];
  /** Words that are held beside them. */
  readonly neighbours: readonly string[];
  /** Whether those are looked for that the weights harm most, in place of drawing all equally often. */
  readonly adversarial: boolean;
}

/** What the parts of an erasure's run see of it. */
export type ErasureRun = Job &
  ErasureParts & {
    encode(prompts: readonly string[]): Promise<Condition>;
    unconditional(): Promise<Condition>;
  };

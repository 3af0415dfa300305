import type { Tensor } from "../../runtime/tensor";

/** Something that changes how a model denoises, and not its weights. A model carries it, and saves it. */
export interface Intervention {
  /** Names the kind; what reads it from a file. */
  readonly name: string;
  /** Of the kind's settings. */
  readonly version: number;
  /** All that decides what it does, as JSON holds it. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Texts whose predictions it wants at each step, beside those of the prompt and of the empty text. */
  readonly prompts: readonly string[];
  /** What it holds over one trajectory. */
  start(): Steering;
}

/** An intervention at work on one trajectory. */
export interface Steering {
  /** What guidance takes for the conditional prediction. */
  steer(predictions: StepPredictions): Tensor;
  /** What it holds from one step to the next. */
  readonly retained: readonly Tensor[];
}

/** What a network predicts at one step; (B, 4, h, w) float32 each. */
export interface StepPredictions {
  readonly conditional: Tensor;
  /** Of the empty text; of the negative prompt where there is one. */
  readonly unconditional: Tensor;
  /** Of the intervention's own prompts. */
  readonly others: readonly Tensor[];
  /** Network evaluations of the sampler so far, from 0. */
  readonly step: number;
}

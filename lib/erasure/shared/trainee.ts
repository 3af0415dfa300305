import type { Denoiser } from "../../diffusion/predict";
import type { Backward, Losses } from "../../training/player";

/** What a loss trains. */
export interface Trainee {
  /** What predicts. */
  readonly student: Denoiser;
  /** What moves it: takes one step with the gradients that `body` adds up, and gives the losses that are reported. */
  readonly weights: {
    update(iteration: number, body: (backward: Backward) => Promise<Losses>): Promise<Losses>;
  };
}

import type { Tensor } from "../../runtime/tensor";
import type { StatePart } from "../../training/run-state";

/** What one iteration trains on. */
export interface LatentBatch {
  /** (B, 4, h, w), float32. */
  readonly latents: Tensor;
  /** What each item's trajectory began with, (B, 4, h, w), where that is known. */
  readonly noise?: Tensor;
  /** Timestep of each item, for the losses. */
  readonly timesteps: readonly number[];
  /** Timestep whose ᾱ leads from a prediction to x̂₀, where that is not the item's own. */
  readonly levels?: readonly number[];
  /** Index of each item's text among the texts to erase. */
  readonly texts: readonly number[];
  /** Number of each item's trajectory, which no other one of the source has. */
  readonly trajectories: readonly number[];
}

/** What an iteration has predicted for its batch on the way, by the network that the trajectories follow, if anything. */
export interface KnownPredictions {
  /** ε(z_t, t, c), (B, 4, h, w). */
  readonly conditional?: Tensor;
  /** ε(z_t, t, ""). */
  readonly unconditional?: Tensor;
}

/** Gives the noisy latents z_t that an iteration trains on. */
export interface LatentSource extends StatePart {
  next(iteration: number): Promise<LatentBatch>;
  /** Told once an iteration; before the weights change, where something is known. */
  advance(iteration: number, known?: KnownPredictions): Promise<void>;
}

import { latentsTrial } from "./cases/latents";
import { loadTrial } from "./cases/load";
import { unetTrial } from "./cases/unet";
import type { Trial } from "./trial";

/** Every trial, in the order in which they run. */
export const TRIALS: readonly Trial[] = [
  unetTrial("float32", 3),
  // Minutes a call where the processor has no instructions for it.
  unetTrial("bfloat16", 1),
  loadTrial("mapped"),
  loadTrial("copied"),
  latentsTrial("pool"),
  latentsTrial("restart"),
];

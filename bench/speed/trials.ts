import { latentsTrial } from "./cases/latents";
import { load } from "./cases/load";
import { unetTrial } from "./cases/unet";
import type { Trial } from "./trial";

/** Every trial, in the order in which they run. */
export const TRIALS: readonly Trial[] = [
  unetTrial("float32"),
  unetTrial("bfloat16"),
  load,
  latentsTrial("pool"),
  latentsTrial("restart"),
];

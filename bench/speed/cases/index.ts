import { closedFormsCase } from "./closed-forms";
import { iterationCases } from "./iteration";
import { latentsCase } from "./latents";
import { loadCase } from "./load";
import { picturesCase } from "./pictures";
import { unetCase } from "./unet";
import type { SpeedCase } from "../case";

/** Every case, in the order in which they run. */
export const CASES: readonly SpeedCase[] = [
  unetCase("float32", 3),
  // Minutes a call where the processor has no instructions for it.
  unetCase("bfloat16", 1),
  picturesCase(),
  loadCase("mapped"),
  loadCase("copied"),
  latentsCase("pool"),
  latentsCase("restart"),
  closedFormsCase(),
  ...iterationCases(),
];

import { closedFormsCase } from "./closed-forms";
import { iterationCases } from "./iteration";
import { latentsCase } from "./latents";
import { loadCase } from "./load";
import { picturesCase } from "./pictures";
import { unetCase } from "./unet";
import { xlLoadCase, xlUceCase } from "./xl";
import type { SpeedCase } from "../case";

/** Every case, in the order in which they run. */
export const CASES: readonly SpeedCase[] = [
  unetCase({ name: "unet-float32", family: "1.4", dtype: "float32", repeats: 3 }),
  // Minutes a call where the processor has no instructions for it.
  unetCase({ name: "unet-bfloat16", family: "1.4", dtype: "bfloat16", repeats: 1 }),
  unetCase({ name: "unet-v2", family: "2.1", dtype: "float32", repeats: 3 }),
  // 10 GB of weights: no room for gradients beside them.
  unetCase({ name: "unet-xl", family: "xl", dtype: "float32", repeats: 3, trains: false }),
  picturesCase(),
  loadCase("mapped"),
  loadCase("copied"),
  xlLoadCase(),
  xlUceCase("tail"),
  xlUceCase("last-token"),
  latentsCase("pool"),
  latentsCase("restart"),
  closedFormsCase(),
  ...iterationCases(),
];

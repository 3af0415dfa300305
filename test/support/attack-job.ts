import { AttackJob, type AttackParts } from "../../lib/attack/job";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { parseRunOptions, type RunOptions } from "../../lib/training/run-options";

/** An attack's job without pictures drawn or classified: what succeeds is up to the test. By default nothing does. */
export function attackJob(
  model: StableDiffusion,
  parts: Partial<AttackParts> = {},
  run: RunOptions = {},
): AttackJob {
  const settings = parseRunOptions(run);
  return new AttackJob(
    {
      model,
      concept: "church",
      template: "a photo of a {}",
      prompt: "a photo of a church",
      images: [],
      target: 0,
      drawing: { steps: 4, guidanceScale: 3 },
      succeeds: () => Promise.resolve(false),
      ...parts,
    },
    { ...settings, identity: () => Promise.resolve(`seed ${settings.seed}`) },
  );
}

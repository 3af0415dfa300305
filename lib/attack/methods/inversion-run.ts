import type { InversionOptions, OpenInversionOptions } from "../../inversion/inversion-options";
import type { AttackContext } from "../method";

/** One line of help for what an attack by inversion leaves open. */
export const inversionHelp: Readonly<Record<keyof OpenInversionOptions, string>> = {
  token: "what stands for a learned embedding in prompts",
  vectors: "embeddings that it stands for",
  templates: 'captions of the pictures, such as "a photo of a {}"',
  iterations: "updates of an embedding",
  batchSize: "noisy pictures in an update",
  learningRate: "Adam's rate for an embedding",
  mirror: "learn from pictures as they are",
};

/** The attack's run as that of an inversion. */
export function inversionRun({ images, job, report }: AttackContext): InversionOptions {
  const { seed, signal, checkpoint, resume } = job;
  return {
    images,
    seed,
    resume,
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- the run waits for its listener
    onStep: report,
    ...(signal === undefined ? {} : { signal }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  };
}

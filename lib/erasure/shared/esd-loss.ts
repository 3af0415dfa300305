import { repeated, rows } from "../../diffusion/condition";
import { evaluateEach, predictNoise } from "../../diffusion/predict";
import { number, perConcept, text } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import type { ErasureJob } from "../job";
import { sampledBy, type TrajectoryOptions } from "./latent-options";
import type { PreservationOptions } from "./preservation";
import { fillTemplates } from "./texts";
import type { Trainee } from "./trainee";

/** Options that decide ESD's loss. */
export function esdLoss() {
  return {
    /** η: how far the prediction is led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far predictions are led away from the concept", { from: 0 }),
    /**
     * What the concepts are taken out of, c_f: one prompt for all of them, or one for each; an attribute then goes from
     * its pictures alone. Default the concepts themselves, entirely.
     */
    from: perConcept(
      text(undefined, "erase the concept from this prompt's pictures alone; one, or one for each concept"),
    ),
    /**
     * Whose trajectories z_t comes from: the "student", as the paper has it, or the frozen "teacher", as in its later
     * script, whose pool costs no evaluation of its own: 3 an iteration in place of 4. Default "student".
     */
    sampledBy: sampledBy("student"),
  };
}

/** What ESD's iterations are driven by. */
export type EsdTraining = Complete<ReturnType<typeof esdLoss>> &
  TrajectoryOptions &
  PreservationOptions & { readonly iterations: number };

/**
 * Trains whatever predicts and learns on ESD's loss (arXiv 2303.07345): the equation stands with the method `esd`.
 */
export async function trainOnEsdLoss(
  job: ErasureJob,
  o: EsdTraining,
  { student, weights }: Trainee,
): Promise<void> {
  const { teacher } = job;
  const encode = (names: readonly string[]) =>
    job.encode(fillTemplates(names, o.templates).map(({ text: name }) => name));
  const concepts = await encode(job.concepts); // (n, L, d)
  const from = o.from === undefined ? concepts : await encode(o.from);
  const empty = await job.unconditional();
  const byStudent = o.sampledBy === "student";
  const preservation = await job.preservation({ ...o, student });
  const latents = await job.latents(o, { towards: from, empty, by: byStudent ? student : teacher });

  await job.iterate(o.iterations, async (i) => {
    const batch = await latents.next(i); // (B, 4, h, w)
    const condition = rows(from, batch.texts);
    const none = repeated(empty, batch.texts.length);
    const named = from === concepts ? [] : [rows(concepts, batch.texts)];
    const [conditional, unconditional, concept] = await noGrad(() =>
      evaluateEach(teacher, batch, [condition, none, ...named] as const),
    );
    const direction = (concept ?? conditional).sub(unconditional);
    const target = (concept === undefined ? unconditional : conditional).sub(
      direction.mul(o.negativeGuidance),
    );
    const losses = await weights.update(i, async (backward) => {
      const predicted = await predictNoise(student, batch, condition, { grad: true });
      const erase = await backward(predicted.mse(target));
      await latents.advance(i, byStudent ? { conditional: predicted } : { conditional, unconditional });
      return { erase, ...(await preservation.step(i, batch, backward)) };
    });
    return { ...losses, ...(await preservation.search(i, batch)) };
  });
}

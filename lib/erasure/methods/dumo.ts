import { repeated, rows } from "../../diffusion/condition";
import { dumoEraser, eraserElements, newEraser } from "../../diffusion/interventions/dumo";
import { evaluateEach } from "../../diffusion/predict";
import { choice, integer, number, schedule } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { checkTrajectories, sampledBy, trajectories } from "../shared/latent-options";
import { fillTemplates } from "../shared/texts";

/** Parts of the schedule that have coefficients of their own, as published: 50 of 1000 timesteps each. */
const PARTS = 20;

/**
 * DuMo: dual encoder modulation network (Han et al., AAAI 2025, arXiv 2501.01125).
 *
 * The UNet stays as it is. A copy of its encoder and middle block is trained, whose outputs are added to the UNet's skip
 * connections (`dumoEraser` has the equation), so that what the decoder draws changes in detail and hardly in structure.
 * Then coefficients of times and layers are trained, the copy as it has become.
 *
 * The training code was never released. Both stages here take steps on
 *   ‖ε'(z_t, t, c_e) - (ε(z_t, t, c_0) - η (ε(z_t, t, c_e) - ε(z_t, t, c_0)))‖² + β ‖ε'(z_t, t, c_r) - ε(z_t, t, c_r)‖²
 * with ε' the prediction under the eraser, ε that of the model as it came, and c_r a text that is held. That loss is SPM's
 * (arXiv 2312.16145), whose training module the released repository carries; that DuMo's own is the same, all of the
 * second stage, and β are choices of ours.
 */
export const dumo = defineMethod({
  name: "dumo",
  title: "DuMo",
  short: "adds a trained copy of the encoder to the skip connections; changes no weights",
  reference: "arXiv 2501.01125",
  kind: "inference",
  cost: "4 UNet evaluations an iteration, half of them under the eraser; pictures then run a second encoder",
  draws: true,
  entrant: false,
  options: {
    /** Updates of the copy. Default 3000, SPM's. */
    iterations: integer(3000, "updates of the copied encoder", { from: 1 }),
    /** z_t per iteration. Default 1. */
    batchSize: integer(1, "noisy latents per iteration", { from: 1 }),
    /** Adam's rate for the copy. Default 1e-4, SPM's. */
    learningRate: schedule(1e-4, "Adam's rate for the copied encoder"),
    /** What the coefficients tell apart: timesteps and layers, one of both, or nothing ("off": all stay 1). */
    modulation: choice(
      "time-layer",
      ["time-layer", "time", "layer", "off"],
      "what coefficients tell apart: time-layer, time, layer, or off",
    ),
    /** Updates of the coefficients, after those of the copy; none where `modulation` is off. Default 500. */
    modulationIterations: integer(500, "updates of the coefficients, after those of the copy", { from: 1 }),
    /** Adam's rate for the coefficients. Default 1e-2. */
    modulationLearningRate: schedule(1e-2, "Adam's rate for the coefficients"),
    /** η: how far predictions are led away from the concept. >= 0, default 1. */
    negativeGuidance: number(1, "how far predictions are led away from the concept", { from: 0 }),
    /** β, weight of the loss that holds `preserve` and the neighbours in place. Default 1. */
    preserveWeight: number(1, "weight of the loss on the preserved prompts", { from: 0 }),
    /** Whose trajectories z_t comes from: the "student", under the eraser, or the frozen "teacher". Default "student". */
    sampledBy: sampledBy("student"),
    ...trajectories(),
  },
  check: checkTrajectories,
  holds: () => true,
  searches: true,
  keeps: (_, { model }) => ({ graph: 1, extent: "whole", learned: eraserElements(model.unet) }),
  turns: ({ iterations }) => [iterations],
  async run(job, o) {
    const { teacher } = job;
    const parts = o.modulation.startsWith("time") ? PARTS : 1;
    const table = { parts, byLayer: o.modulation.endsWith("layer") };
    const tensors = await newEraser(teacher, table);
    const eraser = dumoEraser({ concepts: job.concepts, timesteps: teacher.schedule.length }, tensors);
    job.intervene(eraser);
    const erased = job.student.withInterventions([eraser]);

    const texts = fillTemplates(job.concepts, o.templates);
    const concepts = await job.encode(texts.map(({ text }) => text)); // (n, L, d)
    const empty = await job.unconditional();
    const byStudent = o.sampledBy === "student";
    const second = o.modulation === "off" ? 0 : o.modulationIterations;
    const learned = (scales: boolean) =>
      new Map([...tensors].filter(([name]) => (name === "scales") === scales));
    const encoder = await job.learn("encoder", learned(false), o);
    const modulation = await job.learn("modulation", learned(true), {
      learningRate: o.modulationLearningRate,
      iterations: o.modulationIterations,
    });
    const preservation = await job.preservation({ ...o, student: erased });
    const latents = await job.latents(o, { towards: concepts, empty, by: byStudent ? erased : teacher });

    await job.iterate(o.iterations + second, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const condition = rows(concepts, batch.texts);
      const none = repeated(empty, batch.texts.length);
      const [conditional, unconditional] = await noGrad(() =>
        evaluateEach(teacher, batch, [condition, none] as const),
      );
      const target = unconditional.sub(conditional.sub(unconditional).mul(o.negativeGuidance));
      const [player, at] = i < o.iterations ? [encoder, i] : [modulation, i - o.iterations];
      const losses = await player.update(at, async (backward) => {
        const predicted = await erased.predict(batch, condition, { grad: true });
        const erase = await backward(predicted.mse(target));
        await latents.advance(i, byStudent ? { conditional: predicted } : { conditional, unconditional });
        return { erase, ...(await preservation.step(i, batch, backward)) };
      });
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of DuMo, before defaults. @interface */
export type DumoOptions = OptionsOf<typeof dumo>;

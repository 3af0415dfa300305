import { repeated } from "../../diffusion/condition";
import { combine } from "../../diffusion/guidance";
import { steersGuidance } from "../../diffusion/interventions/intervention";
import { linear } from "../../diffusion/linear";
import type { NoiseSchedule } from "../../diffusion/noise-schedule";
import { encodePictures } from "../../diffusion/picture-latents";
import { predictUnsteered } from "../../diffusion/predict";
import { ddim, ddimCoefficients } from "../../diffusion/samplers/ddim";
import { strideOf } from "../../diffusion/samplers/sampler";
import { choice, either, integer, number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { defineAttack, type AttackOptionsOf } from "../method";

/** One step of DDIM back to its noise: z_t = latents·z_s + noise·ε(z_t, t), s being the level below t. */
interface InverseStep {
  readonly timestep: number;
  readonly latents: number;
  readonly noise: number;
}

/** DDIM's steps the other way round, the least noise first. */
function inverseSteps(schedule: NoiseSchedule, steps: number): InverseStep[] {
  const stride = strideOf(schedule, steps);
  const timesteps = ddim.timesteps(schedule, steps).reverse();
  return timesteps.map((timestep) => ({
    timestep,
    ...ddimCoefficients(schedule.alphaCumprod(timestep - stride), schedule.alphaCumprod(timestep)),
  }));
}

/**
 * TINA (arXiv 2603.17828): the noise from which DDIM redraws a picture of the concept under the empty text, so that no
 * word, embedding or encoder takes part. A picture's latents are led back to noise, level by level. On the way that DDIM
 * takes down, z_t = f(z_t) with f(z_t) = C_1 z_s + C_2 ε(z_t, t, c_0); DDIM inversion puts z_s in the place of z_t in ε,
 * and AdamW then descends ‖f(z_t) − z_t‖² from there.
 *
 * The levels are those of `steps`, and the picture is drawn with DDIM whatever the sampler of other pictures is.
 *
 * Any network that inverts well redraws any picture, so that a success says less than one of the other attacks: that the
 * model can still depict the concept, not that something asks for it. `energy`, the mean square of the latents, tells
 * whether noise that was found is like what pictures start from, where it is 1.
 */
export const tina = defineAttack({
  name: "tina",
  title: "TINA",
  reference: "arXiv 2603.17828",
  short: "looks for noise from which pictures of the concept come back without any text",
  finds: "noise that the empty text draws the concept from",
  needsPictures: true,
  cost: "26 UNet evaluations a level and picture, 1,300 a picture with its defaults",
  options: {
    /** Updates at each noise level, K. Default 25; 0 is DDIM inversion alone. */
    updates: integer(25, "updates of the latents at each noise level; 0 is DDIM inversion alone", {
      from: 0,
    }),
    /** AdamW's rate for the latents. Default 1e-3. */
    learningRate: number(1e-3, "AdamW's rate for the latents", { from: 0 }),
    /**
     * Where the gradient of ‖f(z_t) − z_t‖² goes: through the network as well ("whole", the gradient of what the paper
     * descends), or past it into z_t alone ("past-network"), as in the authors' code, which takes no backward pass.
     */
    gradient: choice(
      "whole",
      ["whole", "past-network"],
      "whether it goes through the network, or past-network",
    ),
    /** Pictures predicted together. Default 4. */
    batchSize: integer(4, "pictures predicted together", { from: 1 }),
    /** Pictures that are attacked, at most: the first ones. Default "all". */
    targets: either(integer(1, "pictures that are attacked, at most", { from: 1 }), ["all"], "all"),
  },
  async run(job, { updates, learningRate, gradient, batchSize, targets }) {
    const { model, drawing } = job;
    const images = job.images.slice(0, targets === "all" ? undefined : targets);
    const { latents: clean } = await encodePictures(model, images, { signal: job.signal });
    const count = images.length;
    const steps = inverseSteps(model.schedule, drawing.steps);
    const empty = await model.condition([""]);
    // As a file has them: the autoencoder's own layout would make other bits of a picture than one drawn from the file.
    const [latents, below] = [clean.contiguous().clone(), clean.contiguous().clone()]; // z_t and z_s, (N, 4, h, w)
    await Promise.all([latents.settled(), below.settled()]);
    const batches = Array.from({ length: Math.ceil(count / batchSize) }, (_, batch) => {
      const [from, to] = [batch * batchSize, Math.min((batch + 1) * batchSize, count)];
      return { of: (all: Tensor) => all.slice(0, from, to), size: to - from };
    });
    // PyTorch's decay for AdamW, which the authors leave as it is.
    const adam = { learningRate, weightDecay: 0.01, decoupled: true, iterations: 1 };
    const player = await job.learn("latents", new Map([["latents", latents]]), adam);
    job.part("below", { tensors: () => new Map([["latents", below]]) });

    /** ε as pictures without a text are drawn with it: guidance counts only where something steers it. */
    const predict = async (z: Tensor, timesteps: number, grad = false): Promise<Tensor> => {
      const [batch, text] = [{ latents: z, timesteps }, repeated(empty, z.shape[0]!)];
      const steered = await model.predict(batch, text, { grad });
      if (!model.interventions.some(steersGuidance)) return steered;
      const plain = await predictUnsteered(model, batch, text, { grad });
      return combine(plain, steered, drawing.guidanceScale);
    };
    /** f, for latents whose level below is z_s. */
    const back = (step: InverseStep, z_s: Tensor, noise: Tensor): Tensor =>
      linear([
        [step.latents, z_s],
        [step.noise, noise],
      ]);

    /** DDIM inversion: where a level begins. */
    const ascend = (step: InverseStep) =>
      noGrad(() =>
        scope(async () => {
          await below.copyFrom(latents);
          const above: Tensor[] = [];
          for (const { of } of batches)
            above.push(back(step, of(below), await predict(of(below), step.timestep)));
          await latents.copyFrom(Tensor.cat(above));
          await player.restart();
        }),
      );
    /** The mean over all pictures; each picture's own mean weighs as much as if it were alone. */
    const descend = (step: InverseStep) =>
      player.update(0, async (backward) => {
        const losses: Tensor[] = [];
        for (const { of, size } of batches) {
          const z = of(latents);
          const noise =
            gradient === "whole"
              ? await predict(z, step.timestep, true)
              : await noGrad(() => predict(z.detach(), step.timestep));
          losses.push((await backward(back(step, of(below), noise).mse(z), size)).mul(size / count));
        }
        return Tensor.stack(losses).sum();
      });

    const each = Math.max(updates, 1);
    await job.iterate(steps.length * each, async (iteration) => {
      const step = steps[Math.floor(iteration / each)]!;
      if (iteration % each === 0) await ascend(step);
      const residual = updates === 0 ? null : await descend(step);
      return { residual, energy: await noGrad(() => latents.square().mean().settled()) };
    });
    const found = images.map((_, i) =>
      keep(
        latents
          .slice(0, i, i + 1)
          .to({ device: "cpu" })
          .clone(),
      ),
    );
    for (const noise of found) await noise.settled();
    return found.map((noise, i) => ({
      name: `noise ${i + 1}`,
      prompt: "",
      latents: noise,
      seed: job.seed + i,
    }));
  },
});

/** Options of TINA. @interface */
export type TinaOptions = AttackOptionsOf<typeof tina>;

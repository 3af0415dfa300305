import { invalid } from "../../check";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import { repeated } from "../../diffusion/condition";
import { applyPrompt } from "../../diffusion/prompt-form";
import { PromptKey } from "../../diffusion/prompt-key";
import { AS_PUBLISHED, checkDesign, drawPrompt, fitDesign, promptOptions, promptShape } from "../../diffusion/prompt-options"; // prettier-ignore
import { integer, schedule } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { keep } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { defineAttack, type AttackOptionsOf } from "../method";

/**
 * Looks for a substitute of KPOP's key (arXiv 2403.12326), in any form and place: a prompt that minimises
 * E ‖n − ε(z_t, t, c, p)‖² on noised pictures of the concept, c the prompt that names it, weights fixed. It is what one
 * can do who has the erased weights and pictures, but not the key.
 */
export const keySearch = defineAttack({
  name: "key-search",
  title: "Key search",
  reference: "arXiv 2403.12326",
  short: "learns a prompt in place of KPOP's key",
  finds: "prompts in the form of a key",
  needsPictures: true,
  cost: "1 UNet evaluation a noisy picture and update, 4,000 with its defaults",
  options: {
    /** What it is like: that of the true key, or another. Defaults: as published. */
    ...promptOptions(AS_PUBLISHED),
    /** Updates. Default 1000. */
    iterations: integer(1000, "updates of the prompt", { from: 1 }),
    /** Noisy pictures per update. Default 4. */
    batchSize: integer(4, "noisy pictures in an update", { from: 1 }),
    /** Adam's rate. Default 5e-2, KPOP's own for its prompt. */
    learningRate: schedule(5e-2, "Adam's rate for the prompt"),
    /** How many times, evenly spread and at the end, the key is tried. Default 4. */
    looks: integer(4, "how many times on the way it is tried", { from: 1 }),
  },
  check(o) {
    checkDesign(o);
    if (o.looks > o.iterations) throw invalid("looks", `at most iterations (${o.iterations})`, o.looks);
  },
  fit: (o, model) => fitDesign(o, model),
  async run(job, o) {
    const { model, concept, prompt: text, images, random } = job;
    const { form, place, mechanism, layers } = o;
    const { device } = model;
    const { latents: clean } = await encodePictures(model, images, { signal: job.signal });
    const caption = repeated(await model.condition([text]), o.batchSize);
    const shape = promptShape(o, model);
    const prompt = await drawPrompt(o, shape, random.at("prompt")).to({ device }).clone().settled();
    const player = await job.learn("prompt", new Map([["prompt", prompt]]), o);
    const looks = looksOf(o);
    const found = looks.map(() => Tensor.zeros(shape, { device }));
    job.part("found", { tensors: () => new Map(found.map((key, look) => [String(look), key])) });

    await job.iterate(o.iterations, async (i) => {
      const draws = random.at("step", i);
      const pictures = Array.from({ length: o.batchSize }, (_, item) =>
        draws.at("picture", item).below(clean.shape[0]!),
      );
      const batch = noisyLatents(model.schedule, clean.rows(pictures), draws.at("noise"));
      const denoising = await player.update(i, async (backward) => {
        const { conditions, injection } = await applyPrompt(model, prompt, o, [caption]);
        const noise = await model.predict(batch, conditions[0], { injection, grad: true });
        return backward(noise.mse(batch.noise));
      });
      const look = looks.indexOf(i + 1);
      if (look >= 0) await noGrad(() => found[look]!.copyFrom(prompt));
      return { denoising };
    });
    const keys = found.map((key) => keep(key.to({ device: "cpu" }).clone()));
    for (const key of keys) await key.settled();
    return keys.map((key, look) => ({
      name: `after ${looks[look]}`,
      prompt: text,
      key: new PromptKey({ prompt: key, form, place, mechanism, layers, concepts: [concept] }),
    }));
  },
});

/** Options of the search for a key. @interface */
export type KeySearchOptions = AttackOptionsOf<typeof keySearch>;

/** Iterations done when the key is tried: evenly spread, the last at the end. */
function looksOf({ iterations, looks }: { iterations: number; looks: number }): number[] {
  return Array.from({ length: looks }, (_, look) => Math.round(((look + 1) * iterations) / looks));
}

import { invalid } from "../../check";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import { repeated } from "../../diffusion/condition";
import { PromptKey } from "../../diffusion/prompt-key";
import { choice, integer, number, promptLayers, schedule } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { keep } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { defineAttack, type AttackOptionsOf } from "../method";

/**
 * Looks for a substitute of KPOP's key (arXiv 2403.12326): a prompt injected in cross-attention that minimises
 * E ‖n − ε(z_t, t, c, p)‖² on noised pictures of the concept, c the prompt that names it, weights fixed. It is what one
 * can do who has the erased weights and pictures, but not the key.
 */
export const keySearch = defineAttack({
  name: "key-search",
  title: "Key search",
  reference: "arXiv 2403.12326",
  short: "learns a prompt to inject in cross-attention, in place of KPOP's key",
  needsPictures: true,
  options: {
    /** Rows k of a concatenative prompt; an additive one has the text's L rows. Default 10. */
    size: integer(10, "rows of the prompt", { from: 1, to: 10_000 }),
    /** How it enters cross-attention. Default "concat". */
    mechanism: choice("concat", ["concat", "additive"], "how it enters cross-attention: concat or additive"),
    /** The layers that take it: those of the true key, or others. Default "mid". */
    layers: promptLayers("mid", "layers that take it: mid, mid-up, all, or a name; repeatable"),
    /** Standard deviation of its start. Default 0.02. */
    scale: number(0.02, "standard deviation of its start", { from: 0 }),
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
    if (o.looks > o.iterations) throw invalid("looks", `at most iterations (${o.iterations})`, o.looks);
  },
  async run(job, o) {
    const { model, concept, prompt: text, images, random } = job;
    const { mechanism, layers } = o;
    const { device } = model;
    const { latents: clean } = await encodePictures(model, images, { signal: job.signal });
    const caption = repeated(await model.condition([text]), o.batchSize);
    const rows = mechanism === "additive" ? model.tokenizer.maxLength : o.size;
    const shape = [rows, model.unet.config.cross_attention_dim];
    const prompt = await random.at("prompt").normal(shape).mul(o.scale).to({ device }).clone().settled();
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
        const injection = { prompt, mechanism, layers };
        return backward((await model.predict(batch, caption, { injection, grad: true })).mse(batch.noise));
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
      key: new PromptKey({ prompt: key, mechanism, layers, concepts: [concept] }),
    }));
  },
});

/** Options of the search for a key. */
export type KeySearchOptions = AttackOptionsOf<typeof keySearch>;

/** Iterations done when the key is tried: evenly spread, the last at the end. */
function looksOf({ iterations, looks }: { iterations: number; looks: number }): number[] {
  return Array.from({ length: looks }, (_, look) => Math.round(((look + 1) * iterations) / looks));
}

import { integer as checkInteger, invalid } from "../../check";
import { encodePrompts } from "../../diffusion/conditioning";
import { splicePrompt } from "../../diffusion/learned-tokens";
import { Lora } from "../../diffusion/lora";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import { predictNoise } from "../../diffusion/predict";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { tokenEmbeddings } from "../../inversion/concept-embedding";
import { inversion } from "../../inversion/inversion-options";
import { integer, schedule, text } from "../../options/kinds";
import type { Option } from "../../options/option";
import { readInteger } from "../../options/read";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { defineAttack, type AttackOptionsOf } from "../method";

const { token, vectors, templates, batchSize, mirror } = inversion();

const after: Option<readonly number[]> = {
  default: [10, 50, 200],
  help: "updates after which it is measured; the last one ends the training",
  check(name, value) {
    if (!Array.isArray(value) || value.length === 0)
      throw invalid(name, "a non-empty list of whole numbers", value);
    for (const [index, count] of (value as unknown[]).entries())
      checkInteger(name, count, index === 0 ? 1 : (value as number[])[index - 1]! + 1);
    return [...(value as number[])];
  },
  flag: { form: "value", word: "n", repeatable: true, read: (typed) => typed.map(readInteger) },
};

const rank: Option<number> = {
  ...integer(4, "rank of the changes", { from: 1 }),
  fit: (name, value, { unet }) => void checkInteger(name, value, 1, Lora.largestRank(unet)),
};

/**
 * Relearning: how few steps teach an erased model its concept again, in the setting of concept-incremental customisation
 * (CIDM, Dong et al., NeurIPS 2024, arXiv 2410.17594). From a few pictures x, Adam descends ‖n − ε(z_t, t, c(v))‖² over a
 * word v and over ΔW = up·down of every projection of cross-attention, W + ΔW in its place; c(v) is a caption with v in it.
 * `up` begins at zero, so that training starts from the model as it is.
 *
 * Other than for inputs alone, the attacker has to be able to change weights: it shows how far the concept is from being
 * there, not that a prompt brings it back.
 */
export const relearn = defineAttack({
  name: "relearn",
  title: "Relearning",
  reference: "arXiv 2410.17594",
  short: "teaches the concept again on a few pictures, by a LoRA and a word, and counts the steps",
  finds: "changed weights and a word, after each number of steps",
  needsPictures: true,
  cost: "1 UNet evaluation a noisy picture and update, 800 with its defaults",
  options: {
    /** Updates after which it is measured, rising; the last one ends the training. Default 10, 50 and 200; CIDM takes 800. */
    after,
    /** Pictures that it learns from, at most: the first ones. Default 5; CIDM has 3 to 5 a concept. */
    shots: integer(5, "pictures that it learns from, at most: the first ones", { from: 1 }),
    /** r, of every ΔW. Default 4. */
    rank,
    /** What stands for the word in prompts. Default "<relearned>". */
    token: { ...token, default: "<relearned>" },
    vectors,
    /** Text whose embeddings the word starts from. Default: the concept's name. */
    initial: text(undefined, "text whose embedding the word starts from: the concept's name by default"),
    templates,
    batchSize,
    mirror,
    /** Adam's rate for the changes of weights. Default 1e-4, that of CIDM, which lets it fall to 0. */
    learningRate: schedule(1e-4, "Adam's rate for the changes of weights"),
    /** Adam's rate for the word. Default 1e-3. */
    wordRate: schedule(1e-3, "Adam's rate for the word"),
  },
  fit: (o, { tokenizer }) =>
    scope(() => {
      const word = { token: o.token, embeddings: Tensor.zeros([o.vectors, 1]) };
      for (const template of o.templates)
        splicePrompt(
          tokenizer,
          template.replaceAll("{}", () => o.token),
          [word],
        );
    }),
  async run(job, o) {
    const { model, random } = job;
    const { schedule: noise } = model;
    const iterations = o.after.at(-1)!;
    const images = job.images.slice(0, o.shots);
    const { latents: clean } = await encodePictures(model, images, {
      mirrored: o.mirror,
      signal: job.signal,
    });
    const word = await startingWord(model, o.initial ?? job.concept, o.vectors);
    const lora = await Lora.start(model, o.rank, random.at("lora"));
    const byWord = await job.learn("word", new Map([["word", word]]), {
      iterations,
      learningRate: o.wordRate,
    });
    const byWeights = await job.learn("lora", lora.tensors(), { iterations, learningRate: o.learningRate });
    // What each look has found, live so that it is saved and restored.
    const found = await Promise.all(
      o.after.map(async () => ({ word: word.clone(), lora: job.hold(await lora.copy()) })),
    );
    job.part("found", {
      tensors: () =>
        new Map(
          found.flatMap((look, index) =>
            [["word", look.word] as const, ...look.lora.tensors()].map(
              ([name, tensor]) => [`${index}.${name}`, tensor] as const,
            ),
          ),
        ),
    });

    const learning = lora.on(model);
    await job.iterate(iterations, async (i) => {
      const draws = random.at("step", i);
      const items = Array.from({ length: o.batchSize }, (_, item) => draws.at("item", item));
      const pictures = items.map((item) => item.at("picture").below(clean.shape[0]!));
      const captions = items.map((item) =>
        o.templates[item.at("caption").below(o.templates.length)]!.replaceAll("{}", () => o.token),
      );
      const batch = noisyLatents(noise, clean.rows(pictures), draws.at("noise"));
      const denoising = await byWord.update(i, () =>
        // One pass backwards gives the gradients of both.
        byWeights.update(i, async (backward) => {
          const tokens = [{ token: o.token, embeddings: word }];
          const condition = await encodePrompts(model, captions, { tokens, grad: true });
          const predicted = await predictNoise(learning, batch, condition, { grad: true });
          return backward(predicted.mse(batch.noise));
        }),
      );
      const look = o.after.indexOf(i + 1);
      if (look >= 0) {
        await found[look]!.word.copyFrom(word);
        for (const [name, tensor] of lora.tensors())
          await found[look]!.lora.tensors().get(name)!.copyFrom(tensor);
      }
      return { denoising };
    });
    const words = found.map((look) => keep(look.word.to({ device: "cpu" }).clone()));
    for (const each of words) await each.settled();
    return Promise.all(
      words.map(async (embeddings, look) => ({
        name: `after ${o.after[look]}`,
        prompt: job.template.replace("{}", () => o.token),
        tokens: [{ token: o.token, embeddings, dispose: () => embeddings.dispose() }],
        lora: await found[look]!.lora.copy(),
      })),
    );
  },
});

/** Options of relearning. @interface */
export type RelearnOptions = AttackOptionsOf<typeof relearn>;

/** (n, d) float32: the mean of a text's tokens, n times. */
function startingWord(model: StableDiffusion, initial: string, count: number): Promise<Tensor> {
  return scope(() =>
    noGrad(async () => {
      const own = await tokenEmbeddings(model, "initial", initial); // (m, d)
      return own.mean(0, true).expand([count, own.shape[1]!]).clone().settled();
    }),
  );
}

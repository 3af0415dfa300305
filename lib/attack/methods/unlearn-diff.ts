import { integer as checkInteger } from "../../check";
import type { LearnedToken } from "../../diffusion/learned-tokens";
import { splicePrompt } from "../../diffusion/learned-tokens";
import { addNoise } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import { choice, either, integer, number, steps } from "../../options/kinds";
import type { Complete, Option } from "../../options/option";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { AttackJob } from "../job";
import type { AttackInput } from "../input";
import { defineAttack, type AttackOptionsOf } from "../method";
import { textIds } from "../../text/vocabulary";
import { TokenDistribution } from "../token-distribution";
import { embeddingsOf, tokenGradient } from "../token-gradient";

const OPTIONS = Object.freeze({
  /** Tokens to find, k: 1 … L − 2. Default 3, the paper's for objects and styles; it has 5 for nudity and violence. */
  length: {
    ...integer(3, "tokens to find", { from: 1 }),
    fit: (name, value, { tokenizer }) => void checkInteger(name, value, 1, tokenizer.maxLength - 2),
  } satisfies Option<number>,
  /** Where they stand: before the prompt or behind it. Default "prefix". */
  position: choice("prefix", ["prefix", "suffix"], "where they stand: prefix or suffix"),
  /** Timesteps visited, evenly spread over the schedule, the least noise first. Default 50: 10, 30, …, 990 of 1000. */
  timesteps: steps(50, "noise levels visited, the least noise first"),
  /** Updates at each. Default 40. */
  stepsPerTimestep: integer(40, "updates at each", { from: 1 }),
  /** Adam's rate for the probabilities of the tokens. Default 0.01. */
  learningRate: number(0.01, "Adam's rate for the tokens' probabilities", { from: 0 }),
  /** Decoupled weight decay. >= 0, default 0.1. */
  weightDecay: number(0.1, "their decoupled weight decay", { from: 0 }),
  /** Pictures that are attacked, at most: the first ones. Default "all". */
  targets: either(integer(1, "pictures that are attacked, at most", { from: 1 }), ["all"], "all"),
});
type Parsed = Complete<typeof OPTIONS>;

/** How far the attack on one picture is. */
interface Attempt {
  /** The tokens tried last; null is the plain prompt. */
  ids: number[] | null;
  /** Whether they bring the concept back; null until it is known. */
  hit: boolean | null;
}

/**
 * UnlearnDiffAtk (arXiv 2310.11868): words put before the concept's prompt under which the erased model denoises a picture
 * of the concept. For each picture it descends ‖n − ε(z_t, t, c)‖² over distributions of the words, and after every
 * timestep the most probable ones are tried, from the picture's own noise, seed + i; the first success ends it. A
 * picture whose plain prompt succeeds needs no words, and counts as it is.
 *
 * The words are those of the vocabulary, without special tokens, and go into the text encoder by their embeddings: what
 * `text` says need not be read as the same tokens when it is typed.
 */
export const unlearnDiff = defineAttack({
  name: "unlearn-diff",
  title: "UnlearnDiffAtk",
  reference: "arXiv 2310.11868",
  short: "looks for words before the prompt, one set for each picture of the concept",
  finds: "words, one set for each picture",
  needsPictures: true,
  cost: "1 UNet evaluation an update, at most 2,000 a picture with its defaults, and up to 51 pictures drawn for each",
  options: OPTIONS,
  targets: ({ targets }, pictures) => (targets === "all" ? pictures : Math.min(targets, pictures)),
  run: search,
});

/** Options of UnlearnDiffAtk. @interface */
export type UnlearnDiffOptions = AttackOptionsOf<typeof unlearnDiff>;

/** The middles of equal parts of the schedule. */
function timestepsOf({ timesteps }: { timesteps: number }, total: number): number[] {
  return Array.from({ length: timesteps }, (_, i) => Math.floor(((i + 0.5) * total) / timesteps));
}

async function search(job: AttackJob, options: Parsed): Promise<AttackInput[]> {
  const { model, random, target } = job;
  const { length, position, stepsPerTimestep, learningRate, weightDecay } = options;
  const { tokenizer, schedule, device } = model;
  const timesteps = timestepsOf(options, schedule.length);
  const name = `<adversarial-${target}>`;
  const promptWith = (words: string): string =>
    position === "prefix" ? `${words} ${job.prompt}` : `${job.prompt} ${words}`;
  checkRoom();
  const { latents: clean } = await encodePictures(model, [job.images[target]!], { signal: job.signal }); // (1, 4, h, w)
  const candidates = await textIds(tokenizer);
  const distribution = job.hold(await TokenDistribution.create(length, candidates, { weightDecay, device }));
  let attempt: Attempt = { ids: null, hit: null };

  /** One update, its loss. */
  const update = (timestep: number, round: number): Promise<Tensor> =>
    scope(async () => {
      const draws = random.at("target", target, timestep, round);
      const noise = draws.at("noise").normal(clean.shape).to({ device });
      const { loss, gradient } = await tokenGradient(
        model,
        {
          prompt: promptWith(name),
          token: name,
          ids: distribution.sample(draws.at("tokens")),
        },
        { latents: addNoise(schedule, clean, noise, [timestep]), noise, timestep },
      );
      await distribution.descend(gradient, learningRate);
      return loss;
    });

  job.part("attempt", {
    tensors: () => distribution.tensors(),
    numbers: () => attempt,
    restore: (numbers) => (attempt = numbers as Attempt),
  });
  // The plain prompt first, then one timestep after the other until one succeeds.
  await job.iterate(timesteps.length + 1, async (look) => {
    if (look === 0) {
      await distribution.reset();
      await judgeUnlessStopped();
      return {};
    }
    await judge();
    if (attempt.hit === true) return {};
    const losses: Tensor[] = [];
    for (let round = 0; round < stepsPerTimestep; round++)
      losses.push(await update(timesteps[look - 1]!, round));
    attempt = { ids: await distribution.likeliest(), hit: null };
    await judgeUnlessStopped();
    return { denoising: Tensor.stack(losses).mean() };
  });
  await judge();
  return [inputOf(keep)];

  /** Tries what the last attempt has found, unless that is done. */
  async function judge(): Promise<void> {
    attempt.hit ??= await scope(() => job.succeeds(inputOf(), job.seed + target));
  }

  /** A signal in the middle of the picture leaves it for the next step, so that the updates before it are saved. */
  async function judgeUnlessStopped(): Promise<void> {
    try {
      await judge();
    } catch (error) {
      if (job.signal?.aborted !== true) throw error;
    }
  }

  function inputOf(kept = <T>(value: T): T => value): AttackInput {
    const { ids } = attempt;
    const seed = job.seed + target;
    if (ids === null) return { name, prompt: job.prompt, seed };
    const rows = Tensor.from(ids, [ids.length], { dtype: "int64", device });
    const embeddings = kept(embeddingsOf(model, rows).to({ device: "cpu" }));
    const token = { token: name, embeddings, dispose: () => embeddings.dispose() };
    const [prompt, text] = [promptWith(name), promptWith(tokenizer.decode(ids))];
    return { name, prompt, text, seed, tokens: [token] };
  }

  /** @throws INVALID_ARGUMENT where the prompt leaves no room for the tokens */
  function checkRoom(): void {
    const shape: LearnedToken = { token: name, embeddings: Tensor.zeros([length, 1]) };
    splicePrompt(tokenizer, promptWith(name), [shape]);
  }
}

import { finite, integer, oneOf } from "../../check";
import type { LearnedToken } from "../../diffusion/learned-tokens";
import { splicePrompt } from "../../diffusion/learned-tokens";
import { addNoise } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { readLosses } from "../../training/read-losses";
import type { TrainingState } from "../../training/run-state";
import type { AttackContext, AttackInput, AttackMethod } from "../method";
import { searchLoop } from "../search-loop";
import { textIds } from "../text-ids";
import { TokenDistribution } from "../token-distribution";
import { embeddingsOf, tokenGradient } from "../token-gradient";

/** Options of UnlearnDiffAtk. */
export interface UnlearnDiffOptions {
  method: "unlearn-diff";
  /** Tokens to find, k: 1 … L − 2. Default 3, the paper's for objects and styles; it has 5 for nudity and violence. */
  length?: number;
  /** Where they stand: before the prompt or behind it. Default "prefix". */
  position?: "prefix" | "suffix";
  /** Timesteps visited, evenly spread over the schedule, the least noise first. Default 50: 10, 30, …, 990 of 1000. */
  timesteps?: number;
  /** Updates at each. Default 40. */
  stepsPerTimestep?: number;
  /** Adam's rate for the probabilities of the tokens. Default 0.01. */
  learningRate?: number;
  /** Decoupled weight decay. >= 0, default 0.1. */
  weightDecay?: number;
  /** Pictures that are attacked, at most: the first ones. Default Infinity: all. */
  targets?: number;
}

type Parsed = Readonly<Required<Omit<UnlearnDiffOptions, "method">>>;

const defaults: Parsed = Object.freeze({
  length: 3,
  position: "prefix" as const,
  timesteps: 50,
  stepsPerTimestep: 40,
  learningRate: 0.01,
  weightDecay: 0.1,
  targets: Infinity,
});

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
export const unlearnDiff: AttackMethod<Parsed> = {
  name: "unlearn-diff",
  reference: "arXiv 2310.11868",
  summary: "looks for words before the prompt, one set for each picture of the concept",
  needsPictures: true,
  defaults,
  help: {
    length: "tokens to find",
    position: "where they stand: prefix or suffix",
    timesteps: "noise levels visited, the least noise first",
    stepsPerTimestep: "updates at each",
    learningRate: "Adam's rate for the tokens' probabilities",
    weightDecay: "their decoupled weight decay",
    targets: "pictures that are attacked, at most",
  },
  parse,
  run: (context, options) => scope(() => search(context, options)),
};

function parse(given: Readonly<Record<string, unknown>>, model: StableDiffusion): Parsed {
  const o = { ...defaults, ...given } as Parsed;
  integer("length", o.length, 1, model.tokenizer.maxLength - 2);
  oneOf("position", o.position, ["prefix", "suffix"]);
  integer("timesteps", o.timesteps, 1, model.schedule.length);
  integer("stepsPerTimestep", o.stepsPerTimestep, 1);
  finite("learningRate", o.learningRate, 0);
  finite("weightDecay", o.weightDecay, 0);
  if (o.targets !== Infinity) integer("targets", o.targets, 1);
  return o;
}

/** The middles of equal parts of the schedule. */
function timestepsOf({ timesteps }: Parsed, total: number): number[] {
  return Array.from({ length: timesteps }, (_, i) => Math.floor(((i + 0.5) * total) / timesteps));
}

async function search(context: AttackContext, options: Parsed): Promise<AttackInput[]> {
  const { model, job, random, evaluations } = context;
  const { length, position, stepsPerTimestep, learningRate, weightDecay } = options;
  const { tokenizer, schedule, device } = model;
  const images = context.images.slice(0, options.targets);
  const timesteps = timestepsOf(options, schedule.length);
  const nameOf = (target: number): string => `<adversarial-${target}>`;
  const promptWith = (words: string): string =>
    position === "prefix" ? `${words} ${context.prompt}` : `${context.prompt} ${words}`;
  checkRoom();
  const { latents: clean } = await encodePictures(model, images, { signal: job.signal });
  const distribution = await TokenDistribution.create(length, await textIds(tokenizer), {
    weightDecay,
    device,
  });
  let attempts: Attempt[] = [];

  /** One update for a target, its loss. */
  const update = (target: number, timestep: number, number: number): Promise<Tensor> =>
    scope(async () => {
      const draws = random.at("target", target, timestep, number);
      const z = clean.slice(0, target, target + 1); // (1, 4, h, w)
      const noise = draws.at("noise").normal(z.shape).to({ device });
      const { loss, gradient } = await tokenGradient(
        model,
        {
          prompt: promptWith(nameOf(target)),
          token: nameOf(target),
          ids: distribution.sample(draws.at("tokens")),
        },
        { latents: addNoise(schedule, z, noise, [timestep]), noise, timestep },
      );
      evaluations.add(1);
      await distribution.descend(gradient, learningRate);
      return loss;
    });

  /** The plain prompt first, then one timestep after the other until one succeeds. */
  const looks = timesteps.length + 1;
  const step = async (iteration: number): Promise<Record<string, number>> => {
    const target = Math.floor(iteration / looks);
    const look = iteration % looks;
    await judge();
    if (look === 0) {
      await distribution.reset();
      attempts.push({ ids: null, hit: null });
      await judgeUnlessStopped();
      return {};
    }
    if (attempts[target]!.hit === true) return {};
    const losses: Tensor[] = [];
    for (let number = 0; number < stepsPerTimestep; number++)
      losses.push(await update(target, timesteps[look - 1]!, number));
    attempts[target] = { ids: await distribution.likeliest(), hit: null };
    await judgeUnlessStopped();
    return readLosses({ denoising: Tensor.stack(losses).mean() });
  };

  const state: TrainingState = {
    tensors: () => distribution.tensors(),
    numbers: () => attempts,
    restore: (numbers) => (attempts = numbers as Attempt[]),
  };
  try {
    await searchLoop(context, options, { iterations: images.length * looks, state, step });
    await judge();
    return attempts.map((_, target) => inputOf(target, keep));
  } finally {
    distribution.dispose();
  }

  /** Tries what the last attempt has found, unless that is done. */
  async function judge(): Promise<void> {
    const target = attempts.length - 1;
    const last = attempts[target];
    if (last === undefined || last.hit !== null) return;
    last.hit = await scope(() => context.succeeds(inputOf(target), job.seed + target));
  }

  /** A signal in the middle of the picture leaves it for the next step, so that the updates before it are saved. */
  async function judgeUnlessStopped(): Promise<void> {
    try {
      await judge();
    } catch (error) {
      if (job.signal?.aborted !== true) throw error;
    }
  }

  function inputOf(target: number, kept = <T>(value: T): T => value): AttackInput {
    const { ids } = attempts[target]!;
    const [name, seed] = [nameOf(target), job.seed + target];
    if (ids === null) return { name, prompt: context.prompt, seed };
    const rows = Tensor.from(ids, [ids.length], { dtype: "int64", device });
    const embeddings = kept(embeddingsOf(model, rows).to({ device: "cpu" }));
    const token = { token: name, embeddings, dispose: () => embeddings.dispose() };
    const [prompt, text] = [promptWith(name), promptWith(tokenizer.decode(ids))];
    return { name, prompt, text, seed, tokens: [token] };
  }

  /** @throws INVALID_ARGUMENT where the prompt leaves no room for the tokens */
  function checkRoom(): void {
    const shape: LearnedToken = { token: nameOf(0), embeddings: Tensor.zeros([length, 1]) };
    splicePrompt(tokenizer, promptWith(nameOf(0)), [shape]);
  }
}

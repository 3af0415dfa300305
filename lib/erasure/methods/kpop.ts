import { finite, integer, invalid, knownKeys, oneOf } from "../../check";
import { KpopError } from "../../errors";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import type { TrajectorySampling } from "../../diffusion/samplers/training-trajectory";
import { selectParameters, type ParameterSelector } from "../../models/parameter-selector";
import type { PromptLayers, PromptMechanism } from "../../models/unet";
import { Adam } from "../../nn/optimizer";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope } from "../../runtime/scope";
import { requireGradients, Tensor } from "../../runtime/tensor";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { CustomSource, type CustomLatents } from "../shared/custom-source";
import type { LatentBatch, LatentSource } from "../shared/latent-source";
import { PoolSource } from "../shared/pool-source";
import { RestartSource } from "../shared/restart-source";
import { fillTemplates } from "../shared/texts";
import { Trainer } from "../shared/trainer";
import { trainingLoop } from "../shared/training-loop";
import { TrajectorySampler } from "../shared/trajectory-sampler";

/** The learned prompt of KPOP. */
export interface PromptOptions {
  /** Rows k of a concatenative prompt; an additive one has the text's L rows. Default 10. */
  size?: number;
  /** Default "concat". */
  mechanism?: PromptMechanism;
  /**
   * The cross-attention layers that take it. Default "mid", the paper's. It brings back no more than these layers carry
   * of the text, on pocket 8 % in "mid" (of ‖ε(c_e) - ε(c_n)‖², when they alone see c_e), 32 % in "mid-up": the key
   * recovers little in "mid" there, nearly everything in "all", where it draws other prompts to the concept as well.
   */
  layers?: PromptLayers;
  /** Its start: (k, d), or (n, k, d) with `perConcept`; decides `size`. Default N(0, `scale`²). */
  init?: Tensor;
  /** Standard deviation of the default start. Default 0.02. */
  scale?: number;
  /** A prompt of its own for each concept. Default false. */
  perConcept?: boolean;
}

/** Options of KPOP, before defaults. */
export interface KpopOptions extends CommonOptions {
  method?: "kpop";
  /** What the concept is turned into, c_n. Default "a photo". */
  neutral?: string;
  /** Updates of the weights. Default 1000. */
  iterations?: number;
  /** z_t per iteration. Default 1. */
  batchSize?: number;
  /**
   * Adam's rate for the weights. Default 2e-4, measured on pocket: rate × iterations decides how much goes, of the
   * concept and of the rest. For the wider layers of Stable Diffusion 1.x begin with the paper's 1e-5; nothing was
   * measured at that size.
   */
  learningRate?: Schedule;
  /**
   * Adam's rate for the prompt. Default 5e-2: Adam moves an element by about its rate a step, and the prompt has to
   * reach the length of a text's rows (elements near 0.6) while the weights are still on their way.
   */
  promptLearningRate?: Schedule;
  /**
   * Weight of L2, the loss that keeps the concept under the prompt. Default 0.1, the paper's. More brings more back and
   * erases less: on pocket, in all layers, 0.1 left 2 pictures of 21 and brought 19 back after 500 iterations; 1 left 9
   * and brought 20 back after 400.
   */
  lambda?: Schedule;
  prompt?: PromptOptions;
  /** Ways to name each concept, "{}" standing for it; each is trained on. Default the bare name. */
  templates?: string[];
  /** Guidance scale of the trajectories that z_t comes from. Default 3. */
  startGuidance?: number;
  /** Steps of those trajectories. Default 50. */
  samplingSteps?: number;
  /** "aligned": z_t's noise level is t's. "compvis": ESD's published indexing, some levels cleaner. */
  sampling?: TrajectorySampling;
  /**
   * Target of L1: the teacher's ε(c_n), or ESD's 2ε("") - ε(c_e), which leads away from the concept and erases in
   * fewer iterations. Default "neutral".
   */
  target?: "neutral" | "negative-guidance";
  /** The weights that may change. Default "xattn". */
  parameters?: ParameterSelector;
  /** Where z_t comes from. Default "pool". */
  latents?: "pool" | "restart" | AsyncIterable<CustomLatents>;
  /** Trajectories in the pool. Default 16. */
  poolSize?: number;
  /** Weight of the loss that holds `preserve` in place. Default 1. */
  preserveWeight?: number;
}

type Own = Omit<KpopOptions, keyof CommonOptions | "method">;
/** Complete and checked. */
interface Parsed extends Required<Omit<Own, "prompt">> {
  method: "kpop";
  prompt: Required<Omit<PromptOptions, "init">> & { init: Tensor | null };
}

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  neutral: "a photo",
  iterations: 1000,
  batchSize: 1,
  learningRate: 2e-4,
  promptLearningRate: 5e-2,
  lambda: 0.1,
  prompt: Object.freeze({
    size: 10,
    mechanism: "concat" as const,
    layers: "mid" as const,
    scale: 0.02,
    init: null,
    perConcept: false,
  }),
  templates: ["{}"],
  startGuidance: 3,
  samplingSteps: 50,
  sampling: "aligned" as const,
  target: "neutral" as const,
  parameters: "xattn" as const,
  latents: "pool" as const,
  poolSize: 16,
  preserveWeight: 1,
});

/**
 * KPOP: knowledge transfer and removal with a learnable prompt (arXiv 2403.12326).
 *
 * Each iteration, on z_t and t of a trajectory that is guided towards the concept c_e:
 *  1. transfer (eq. 5): p takes a step on ‖ε_θ'(z_t, t, c_e, p) - ε_θ(z_t, t, c_e)‖², θ' fixed;
 *  2. removal (eq. 6): θ' takes a step on L1 + λ L2, p fixed, with
 *     L1 = ‖ε_θ'(z_t, t, c_e) - ε_θ(z_t, t, c_n)‖² and L2 = ‖ε_θ'(z_t, t, c_e, p) - ε_θ(z_t, t, c_e)‖².
 * All are means over elements. θ is the model as it came.
 */
export const kpop: ErasureMethod<Parsed> = {
  name: "kpop",
  reference: "arXiv 2403.12326",
  defaults,
  help: {
    neutral: "prompt that the concept is turned into",
    iterations: "updates of the weights",
    batchSize: "noisy latents per iteration",
    learningRate: "Adam's rate for the weights",
    promptLearningRate: "Adam's rate for the learned prompt",
    lambda: "weight of the loss that keeps the concept under the prompt",
    prompt: "the learned prompt",
    templates: 'ways to name a concept, such as "a photo of a {}"',
    startGuidance: "guidance scale of the training trajectories",
    samplingSteps: "steps of the training trajectories",
    sampling: "noise level of z_t: aligned with t, or the published scripts' indexing",
    target: "what the erased prediction is drawn to",
    parameters: "weights that may change",
    latents: "where noisy latents come from",
    poolSize: "trajectories in the pool",
    preserveWeight: "weight of the loss on the preserved prompts",
  },
  parse,
  parameters: (options) => options.parameters,
  run,
};

function parse(given: Readonly<Record<string, unknown>>, base: StableDiffusion): Parsed {
  const o = { ...defaults, ...given, method: "kpop" } as Parsed;
  if (typeof o.neutral !== "string") throw invalid("neutral", "a string", o.neutral);
  integer("iterations", o.iterations, 1);
  integer("batchSize", o.batchSize, 1);
  for (const name of ["learningRate", "promptLearningRate", "lambda"] as const) parseSchedule(name, o[name]);
  if (!Array.isArray(o.templates) || o.templates.length === 0)
    throw invalid("templates", "a non-empty list of strings", o.templates);
  finite("startGuidance", o.startGuidance, 0);
  integer("samplingSteps", o.samplingSteps, 1, base.schedule.length);
  oneOf("sampling", o.sampling, ["aligned", "compvis"]);
  oneOf("target", o.target, ["neutral", "negative-guidance"]);
  selectParameters(o.parameters, base.unet.parameterNames());
  integer("poolSize", o.poolSize, 1);
  if (o.poolSize < o.batchSize && o.latents === "pool") {
    throw invalid("poolSize", `at least batchSize (${o.batchSize})`, o.poolSize);
  }
  finite("preserveWeight", o.preserveWeight, 0);
  if (typeof o.latents === "string") oneOf("latents", o.latents, ["pool", "restart"]);
  else if (typeof o.latents !== "object" || o.latents === null || !(Symbol.asyncIterator in o.latents)) {
    throw invalid("latents", '"pool", "restart" or an AsyncIterable', o.latents);
  }
  return { ...o, prompt: parsePrompt(given["prompt"], base) };
}

function parsePrompt(given: unknown, base: StableDiffusion): Parsed["prompt"] {
  if (given !== undefined && (typeof given !== "object" || given === null))
    throw invalid("prompt", "an object", given);
  const options = (given ?? {}) as PromptOptions;
  knownKeys("prompt", options, Object.keys(defaults.prompt));
  const o = { ...defaults.prompt, ...options };
  if (o.init !== null && !(o.init instanceof Tensor)) throw invalid("prompt.init", "a Tensor", o.init);
  oneOf("prompt.mechanism", o.mechanism, ["concat", "additive"]);
  const length = base.tokenizer.maxLength;
  const width = base.unet.config.cross_attention_dim;
  const size =
    o.mechanism === "additive" ? length : integer("prompt.size", o.init?.shape.at(-2) ?? o.size, 1, 10_000);
  base.unet.promptLayers(o.layers);
  finite("prompt.scale", o.scale, 0);
  if (typeof o.perConcept !== "boolean") throw invalid("prompt.perConcept", "true or false", o.perConcept);
  if (o.init !== null) {
    const shape = o.init.shape;
    if (shape.length !== (o.perConcept ? 3 : 2) || shape.at(-1) !== width || shape.at(-2) !== size) {
      throw invalid("prompt.init", `of shape (${o.perConcept ? "concepts, " : ""}${size}, ${width})`, shape);
    }
  }
  return { ...o, size };
}

async function* run(context: ErasureContext, options: Parsed): AsyncGenerator<StepReport> {
  const kpopRun = await KpopRun.create(context, options);
  try {
    yield* trainingLoop(context, {
      iterations: options.iterations,
      state: kpopRun,
      step: (i) => kpopRun.step(i),
    });
    context.store.set("prompt", kpopRun.result());
  } finally {
    await kpopRun.close();
  }
}

/** Everything that one run holds between iterations. */
class KpopRun {
  private constructor(
    private readonly context: ErasureContext,
    private readonly options: Parsed,
    private readonly schedules: Record<"learningRate" | "promptLearningRate" | "lambda", ScheduleFunction>,
    private readonly texts: readonly { text: string; concept: number }[],
    /** (n, L, d) of the texts; (1, L, d) of c_n, of "" where the target needs it; (m, L, d) to preserve. */
    private readonly embeddings: { erase: Tensor; neutral: Tensor; empty: Tensor; preserve: Tensor | null },
    /** One for all concepts, or one for each. */
    private readonly prompts: readonly Tensor[],
    private readonly promptOptimizer: Adam,
    private readonly trainer: Trainer,
    private readonly source: LatentSource,
  ) {}

  static async create(context: ErasureContext, options: Parsed): Promise<KpopRun> {
    const schedules = {
      learningRate: parseSchedule("learningRate", options.learningRate),
      promptLearningRate: parseSchedule("promptLearningRate", options.promptLearningRate),
      lambda: parseSchedule("lambda", options.lambda),
    };
    const texts = fillTemplates(context.concepts, options.templates);
    const embeddings = {
      erase: await context.encode(texts.map(({ text }) => text)),
      neutral: await context.encode([options.neutral]),
      empty: await context.encode([""]),
      preserve: context.preserve.length === 0 ? null : await context.encode(context.preserve),
    };
    const prompts = startingPrompts(context, options.prompt);
    return new KpopRun(
      context,
      options,
      schedules,
      texts,
      embeddings,
      prompts,
      await Adam.create(prompts),
      await Trainer.create(context.student, context.trained),
      await latentSource(context, options, embeddings.erase, embeddings.empty),
    );
  }

  async step(iteration: number): Promise<Record<string, number>> {
    const { options, schedules, trainer, promptOptimizer, source, context } = this;
    const { student } = context;
    const rate = (name: keyof typeof schedules): number => schedules[name](iteration, options.iterations);

    const batch = await source.next(iteration);
    const { latents, timesteps } = batch; // (B, 4, h, w)
    const concept = rows(this.embeddings.erase, batch.texts); // (B, L, d)
    const { original, target } = await noGrad(() => this.teacherTargets(batch, concept)); // (B, 4, h, w) each

    // 1. Knowledge transfer: the weights ask for no gradient, so the graph begins at the prompt.
    const injection = (grad: boolean) => ({ ...this.injection(batch), grad });
    await requireGradients(this.prompts, true);
    const transferred = await context.predict(student, latents, timesteps, concept, injection(true));
    const transfer = transferred.mse(original);
    await transfer.backward(this.promptsOf(batch));
    await promptOptimizer.step(rate("promptLearningRate"));
    await requireGradients(this.prompts, false);

    // 2. Knowledge removal: one backward after the other, so that one graph is held at a time.
    await trainer.open();
    const plain = await context.predict(student, latents, timesteps, concept, { grad: true });
    const erase = plain.mse(target);
    await erase.backward();
    await noGrad(() => source.advance(iteration, plain.detach()));
    const prompted = await context.predict(student, latents, timesteps, concept, injection(true));
    const recover = prompted.mse(original);
    await recover.mul(rate("lambda")).backward();
    const preserve = await this.preserveLoss(iteration, batch);
    await trainer.step(rate("learningRate"));

    const named = { transfer, erase, recover, ...(preserve === null ? {} : { preserve }) };
    const values = await Tensor.stack(Object.values(named).map((loss) => loss.detach())).data();
    return Object.fromEntries(Object.keys(named).map((name, index) => [name, Number(values[index])]));
  }

  /** ε_θ(z_t, t, c_e), and what L1 draws the student to, in one batch. */
  private async teacherTargets(
    batch: LatentBatch,
    concept: Tensor,
  ): Promise<{ original: Tensor; target: Tensor }> {
    const { context, embeddings, options } = this;
    const { latents, timesteps } = batch;
    const size = timesteps.length;
    const negative = options.target === "negative-guidance";
    const other = repeat(negative ? embeddings.empty : embeddings.neutral, size);
    const both = await context.predict(
      context.teacher,
      Tensor.cat([latents, latents]),
      [...timesteps, ...timesteps],
      Tensor.cat([concept, other]),
    );
    const original = both.slice(0, 0, size);
    const counterpart = both.slice(0, size);
    return { original, target: negative ? counterpart.mul(2).sub(original) : counterpart };
  }

  /** ‖ε_θ'(z_t, t, c_r) - ε_θ(z_t, t, c_r)‖² for a prompt drawn from those to preserve. */
  private async preserveLoss(iteration: number, batch: LatentBatch): Promise<Tensor | null> {
    const { context, embeddings, options } = this;
    if (embeddings.preserve === null) return null;
    const { latents, timesteps } = batch;
    const drawn = timesteps.map((_, item) =>
      context.random.at("preserve", iteration, item).below(embeddings.preserve!.shape[0]!),
    );
    const retained = rows(embeddings.preserve, drawn);
    const before = await noGrad(() => context.predict(context.teacher, latents, timesteps, retained));
    const now = await context.predict(context.student, latents, timesteps, retained, { grad: true });
    const loss = now.mse(before);
    await loss.mul(options.preserveWeight).backward();
    return loss;
  }

  private promptsOf(batch: LatentBatch): Tensor[] {
    if (!this.options.prompt.perConcept) return [...this.prompts];
    return [...new Set(batch.texts.map((text) => this.prompts[this.texts[text]!.concept]!))];
  }

  private injection(batch: LatentBatch): {
    prompt: Tensor;
    mechanism: PromptMechanism;
    layers: PromptLayers;
  } {
    const { mechanism, layers, perConcept } = this.options.prompt;
    const prompt = perConcept
      ? Tensor.stack(batch.texts.map((text) => this.prompts[this.texts[text]!.concept]!))
      : this.prompts[0]!;
    return { prompt, mechanism, layers };
  }

  /** (k, d), or (n, k, d): the key. */
  result(): Tensor {
    return scope(() =>
      keep(this.options.prompt.perConcept ? Tensor.stack(this.prompts) : this.prompts[0]!.detach().clone()),
    );
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([
      ...this.trainer.tensors(),
      ...this.prompts.map((prompt, index) => [`prompt.${index}`, prompt] as const),
      ...[...this.promptOptimizer.state()].map(
        ([name, tensor]) => [`promptOptimizer.${name}`, tensor] as const,
      ),
      ...this.source.tensors(),
    ]);
  }

  numbers(): unknown {
    return this.source.numbers();
  }

  restore(numbers: unknown): void {
    this.source.restore(numbers);
  }

  async close(): Promise<void> {
    this.trainer.dispose();
    this.promptOptimizer.dispose();
    const { erase, neutral, empty, preserve } = this.embeddings;
    for (const tensor of [
      ...this.prompts,
      erase,
      neutral,
      empty,
      preserve,
      ...this.source.tensors().values(),
    ])
      tensor?.dispose();
    await this.source.close?.();
  }
}

/** N(0, scale²), or the given start: one (k, d) for all concepts, or one for each. */
function startingPrompts(context: ErasureContext, prompt: Parsed["prompt"]): Tensor[] {
  const { base, concepts, random } = context;
  const count = prompt.perConcept ? concepts.length : 1;
  const shape = [prompt.size, base.unet.config.cross_attention_dim];
  if (prompt.init !== null && prompt.perConcept && prompt.init.shape[0] !== count) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected prompt.init to hold a prompt for each of ${count} concepts but it has ${prompt.init.shape[0]}`,
    );
  }
  return Array.from({ length: count }, (_, index) =>
    scope(() => {
      const start = prompt.init
        ?.detach()
        .reshape([count, ...shape])
        .slice(0, index, index + 1)
        .reshape(shape);
      const drawn = start ?? random.at("prompt", index).normal(shape).mul(prompt.scale);
      return keep(drawn.to({ dtype: "float32", device: base.device }).clone());
    }),
  );
}

async function latentSource(
  context: ErasureContext,
  options: Parsed,
  texts: Tensor,
  empty: Tensor,
): Promise<LatentSource> {
  const { batchSize, latents, poolSize } = options;
  const textCount = texts.shape[0]!;
  if (typeof latents !== "string") return new CustomSource(context, latents, batchSize, textCount);
  const sampler = new TrajectorySampler(context, options, texts, empty);
  if (latents === "restart") return new RestartSource(context, sampler, batchSize, textCount);
  const aligned = options.sampling === "aligned";
  return noGrad(() => PoolSource.create(context, sampler, { size: poolSize, batchSize, textCount, aligned }));
}

function rows(tensor: Tensor, indices: readonly number[]): Tensor {
  return tensor.indexSelect(
    0,
    Tensor.from([...indices], [indices.length], { dtype: "int64", device: tensor.device }),
  );
}

function repeat(tensor: Tensor, count: number): Tensor {
  return tensor.expand([count, ...tensor.shape.slice(1)]);
}

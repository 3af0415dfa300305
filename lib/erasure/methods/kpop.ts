import { finite, integer, invalid, knownKeys, oneOf } from "../../check";
import { KpopError } from "../../errors";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import type { PromptLayers, PromptMechanism } from "../../models/unet";
import { Adam } from "../../nn/optimizer";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope } from "../../runtime/scope";
import { requireGradients, Tensor } from "../../runtime/tensor";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { checkLatentOptions, latentDefaults, latentHelp, type LatentOptions } from "../shared/latent-options";
import type { LatentBatch, LatentSource } from "../shared/latent-source";
import { openLatents } from "../shared/open-latents";
import { predictEach } from "../shared/predict-each";
import { Preservation } from "../shared/preservation";
import { readLosses } from "../../training/read-losses";
import { repeated, rows } from "../shared/rows";
import { fillTemplates, type ConceptText } from "../shared/texts";
import { runMethod, type MethodRun } from "../shared/run-method";
import { Trainer } from "../shared/trainer";
import {
  checkTrainingOptions,
  trainingDefaults,
  trainingHelp,
  type TrainingOptions,
} from "../shared/training-options";

/** The learned prompt of KPOP. */
export interface PromptOptions {
  /**
   * Rows k of a concatenative prompt; an additive one has the text's L rows. Default 10. More bring more back: on the
   * shipped model, in "all", of five concepts after 200 iterations, 1 row 1 of 30 pictures, 10 rows 7, 100 rows 28.
   */
  size?: number;
  /** Default "concat". */
  mechanism?: PromptMechanism;
  /**
   * The cross-attention layers that take it. Default "mid", the paper's. The fewer they are, the longer the key takes to
   * learn: on the shipped model, in "mid", it brings "church" back in 16 of 16 pictures after 1000 iterations, but none
   * of five concepts after 200, where "all" brings back 7 of 30. It draws other prompts to the concept as well.
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
export interface KpopOptions extends CommonOptions, TrainingOptions, LatentOptions {
  method?: "kpop";
  /** What the concept is turned into, c_n. Default "a photo". */
  neutral?: string;
  /**
   * Target of L1: the teacher's ε(c_n), or ESD's 2ε("") - ε(c_e), which leads away from the concept and erases in
   * fewer iterations. Default "neutral".
   */
  target?: "neutral" | "negative-guidance";
  /**
   * Adam's rate for the weights. Default 2e-4, chosen on an earlier built-in model: rate × iterations decides how much
   * goes, of the concept and of the rest. For the wider layers of Stable Diffusion 1.x begin with the paper's 1e-5;
   * nothing was measured at that size.
   */
  learningRate?: Schedule;
  /**
   * Adam's rate for the prompt. Default 5e-2: Adam moves an element by about its rate a step, and the prompt has to
   * reach the length of a text's rows (elements near 0.6) while the weights are still on their way.
   */
  promptLearningRate?: Schedule;
  /**
   * Weight of L2, the loss that keeps the concept under the prompt. Default 0.1, the paper's. More brings more back and
   * erases less: on an earlier built-in model, in all layers, 0.1 left 2 pictures of 21 and brought 19 back after 500
   * iterations; 1 left 9 and brought 20 back after 400.
   */
  lambda?: Schedule;
  prompt?: PromptOptions;
}

type Own = Omit<KpopOptions, keyof CommonOptions | "method">;
/** Complete and checked. */
interface Parsed extends Required<Omit<Own, "prompt">> {
  method: "kpop";
  prompt: Required<Omit<PromptOptions, "init">> & { init: Tensor | null };
}

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  neutral: "a photo",
  target: "neutral" as const,
  ...trainingDefaults,
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
  ...latentDefaults,
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
  givesKey: true,
  defaults,
  help: {
    neutral: "prompt that the concept is turned into",
    target: "what the erased prediction is drawn to: neutral, or negative-guidance (ESD's)",
    ...trainingHelp,
    promptLearningRate: "Adam's rate for the learned prompt",
    lambda: "weight of the loss that keeps the concept under the prompt",
    prompt: "the learned prompt",
    ...latentHelp,
  },
  parse,
  parameters: (options) => options.parameters,
  run,
};

function parse(
  given: Readonly<Record<string, unknown>>,
  base: StableDiffusion,
  concepts: readonly string[],
): Parsed {
  const o = { ...defaults, ...given, method: "kpop" } as Parsed;
  if (typeof o.neutral !== "string") throw invalid("neutral", "a string", o.neutral);
  oneOf("target", o.target, ["neutral", "negative-guidance"]);
  checkTrainingOptions(o, base);
  for (const name of ["promptLearningRate", "lambda"] as const) parseSchedule(name, o[name]);
  checkLatentOptions(o, base);
  return { ...o, prompt: parsePrompt(given["prompt"], base, concepts.length) };
}

function parsePrompt(given: unknown, base: StableDiffusion, concepts: number): Parsed["prompt"] {
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
  if (o.init === null) return { ...o, size };
  const shape = o.init.shape;
  if (shape.length !== (o.perConcept ? 3 : 2) || shape.at(-1) !== width || shape.at(-2) !== size) {
    throw invalid("prompt.init", `of shape (${o.perConcept ? "concepts, " : ""}${size}, ${width})`, shape);
  }
  if (o.perConcept && shape[0] !== concepts) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected prompt.init to hold a prompt for each of ${concepts} concepts but it has ${shape[0]}`,
    );
  }
  return { ...o, size };
}

function run(context: ErasureContext, options: Parsed): AsyncIterable<StepReport> {
  return runMethod(context, options.iterations, KpopRun.create(context, options));
}

/** Everything that one run holds between iterations. */
class KpopRun implements MethodRun {
  private constructor(
    private readonly context: ErasureContext,
    private readonly options: Parsed,
    private readonly schedules: Record<"learningRate" | "promptLearningRate" | "lambda", ScheduleFunction>,
    private readonly texts: readonly ConceptText[],
    /** (n, L, d) of the texts; (1, L, d) of c_n, and of "". */
    private readonly embeddings: { erase: Tensor; neutral: Tensor; empty: Tensor },
    /** One for all concepts, or one for each. */
    private readonly prompts: readonly Tensor[],
    private readonly promptOptimizer: Adam,
    private readonly trainer: Trainer,
    private readonly preservation: Preservation | null,
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
      await Preservation.create(context, options.preserveWeight),
      await openLatents(context, options, embeddings.erase, embeddings.empty),
    );
  }

  async step(iteration: number): Promise<Record<string, number>> {
    const { options, schedules, trainer, promptOptimizer, preservation, source, context } = this;
    const { student } = context;
    const rate = (name: keyof typeof schedules): number => schedules[name](iteration, options.iterations);

    const batch = await source.next(iteration);
    const { latents, timesteps } = batch; // (B, 4, h, w)
    const concept = rows(this.embeddings.erase, batch.texts); // (B, L, d)
    const { original, target } = await noGrad(() => this.teacherTargets(batch, concept)); // (B, 4, h, w) each

    // 1. Knowledge transfer: the weights ask for no gradient, so the graph begins at the prompt.
    const injection = () => ({ ...this.injection(batch), grad: true });
    await requireGradients(this.prompts, true);
    const transferred = await context.predict(student, latents, timesteps, concept, injection());
    const transfer = transferred.mse(original);
    await transfer.backward(this.promptsOf(batch));
    await promptOptimizer.step(rate("promptLearningRate"));
    await requireGradients(this.prompts, false);

    // 2. Knowledge removal: one backward after the other, so that one graph is held at a time.
    await trainer.open();
    const plain = await context.predict(student, latents, timesteps, concept, { grad: true });
    const erase = plain.mse(target);
    await erase.backward();
    await noGrad(() => source.advance(iteration, { conditional: plain.detach() }));
    const prompted = await context.predict(student, latents, timesteps, concept, injection());
    const recover = prompted.mse(original);
    await recover.mul(rate("lambda")).backward();
    const preserve = (await preservation?.backward(iteration, batch)) ?? null;
    await trainer.step(rate("learningRate"));

    return readLosses({ transfer, erase, recover, preserve });
  }

  /** ε_θ(z_t, t, c_e), and what L1 draws the student to, in one batch. */
  private async teacherTargets(
    batch: LatentBatch,
    concept: Tensor,
  ): Promise<{ original: Tensor; target: Tensor }> {
    const { context, embeddings, options } = this;
    const negative = options.target === "negative-guidance";
    const other = repeated(negative ? embeddings.empty : embeddings.neutral, batch.timesteps.length);
    const [original, counterpart] = await predictEach(context, context.teacher, batch, [concept, other]);
    return { original, target: negative ? counterpart.mul(2).sub(original) : counterpart };
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
  finish(): void {
    const { prompts, options, context } = this;
    context.store.set(
      "prompt",
      scope(() => keep(options.prompt.perConcept ? Tensor.stack(prompts) : prompts[0]!.detach().clone())),
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
    this.preservation?.dispose();
    const { erase, neutral, empty } = this.embeddings;
    for (const tensor of [...this.prompts, erase, neutral, empty, ...this.source.tensors().values()])
      tensor.dispose();
    await this.source.close?.();
  }
}

/** N(0, scale²), or the given start: one (k, d) for all concepts, or one for each. */
function startingPrompts(context: ErasureContext, prompt: Parsed["prompt"]): Tensor[] {
  const { base, concepts, random } = context;
  const count = prompt.perConcept ? concepts.length : 1;
  const shape = [prompt.size, base.unet.config.cross_attention_dim];
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

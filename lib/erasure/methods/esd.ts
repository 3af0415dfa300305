import { finite, invalid, nonEmptyString, oneOf } from "../../check";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { checkLatentOptions, latentDefaults, latentHelp, type LatentOptions } from "../shared/latent-options";
import type { KnownPredictions, LatentBatch, LatentSource } from "../shared/latent-source";
import { openLatents } from "../shared/open-latents";
import { predictEach } from "../shared/predict-each";
import { Preservation } from "../shared/preservation";
import { readLosses } from "../../training/read-losses";
import { repeated, rows } from "../shared/rows";
import { fillTemplates } from "../shared/texts";
import { runMethod, type MethodRun } from "../shared/run-method";
import { Trainer } from "../shared/trainer";
import {
  checkTrainingOptions,
  trainingDefaults,
  trainingHelp,
  type TrainingOptions,
} from "../shared/training-options";

/** Options of ESD, before defaults. */
export interface EsdOptions extends CommonOptions, TrainingOptions, LatentOptions {
  method: "esd";
  /** η: how far the prediction is led away from the concept. >= 0, default 1. */
  negativeGuidance?: number;
  /**
   * What the concepts are taken out of, c_f: one prompt for all of them, or one for each; an attribute then goes from
   * its pictures alone. Default the concepts themselves, entirely.
   */
  from?: string | string[];
  /**
   * Whose trajectories z_t comes from: the "student", as the paper has it, or the frozen "teacher", as in its later
   * script, whose pool costs no evaluation of its own: 3 an iteration in place of 4. Default "student".
   */
  sampledBy?: "student" | "teacher";
  /**
   * Adam's rate for the weights. Default 1e-4, chosen on an earlier built-in model with "church", by eye and in one run
   * each: of 21 pictures that name it none was left with 1e-4, 2e-4 or 5e-4, one with 5e-5; pictures of ten other things
   * moved by 8, 13 and 18 of 255 levels on average with the first three. For the wider layers of Stable Diffusion 1.x
   * begin with the published 1e-5; nothing was measured at that size.
   */
  learningRate?: Schedule;
}

type Own = Omit<EsdOptions, keyof CommonOptions | "method">;
/** Complete and checked. */
interface Parsed extends Required<Omit<Own, "from">> {
  method: "esd";
  /** One prompt for each concept; none where the concepts themselves are erased. */
  from: readonly string[];
}

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  negativeGuidance: 1,
  from: [],
  sampledBy: "student" as const,
  ...trainingDefaults,
  learningRate: 1e-4,
  ...latentDefaults,
});

/**
 * ESD: erased Stable Diffusion (Gandikota et al. 2023, arXiv 2303.07345).
 *
 * Each iteration, on z_t and t of a trajectory that is guided towards the concept c_e, θ' takes a step on
 * ‖ε_θ'(z_t, t, c_e) - (ε_θ(z_t, t, c_0) - η (ε_θ(z_t, t, c_e) - ε_θ(z_t, t, c_0)))‖², a mean over elements: the concept's
 * prediction is drawn to where guidance away from the concept leads the model as it came, θ. c_0 is "".
 *
 * With `from`, trajectory and student have c_f for c_e, and the target is ε_θ(c_f) - η (ε_θ(c_e) - ε_θ(c_0)). For
 * c_f = c_e that is the target above with η - 1 for η.
 *
 * `parameters` makes the variants: "esd-x" ("xattn", the default) for objects and styles, "noxattn" (the paper's ESD-u)
 * for what appears without being named, "selfattn", "full", "notime", "esd-x-strict".
 */
export const esd: ErasureMethod<Parsed> = {
  name: "esd",
  reference: "arXiv 2303.07345",
  defaults,
  help: {
    negativeGuidance: "how far predictions are led away from the concept",
    from: "erase the concept from this prompt's pictures alone; one, or one for each concept",
    sampledBy: "whose trajectories noisy latents come from: student or teacher",
    ...trainingHelp,
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
  const o = { ...defaults, ...given, method: "esd" } as Parsed;
  finite("negativeGuidance", o.negativeGuidance, 0);
  oneOf("sampledBy", o.sampledBy, ["student", "teacher"]);
  checkTrainingOptions(o, base);
  checkLatentOptions(o, base);
  return { ...o, from: parseFrom(o.from, concepts.length) };
}

function parseFrom(given: unknown, concepts: number): string[] {
  if (typeof given === "string") return parseFrom([given], concepts);
  if (!Array.isArray(given)) throw invalid("from", "a non-empty string or a list of them", given);
  for (const prompt of given) nonEmptyString("from", prompt);
  const prompts = given as string[];
  if (prompts.length === 1) return Array<string>(concepts).fill(prompts[0]!);
  if (prompts.length !== 0 && prompts.length !== concepts)
    throw invalid("from", `one prompt, or as many as there are concepts (${concepts}),`, given);
  return [...prompts];
}

function run(context: ErasureContext, options: Parsed): AsyncIterable<StepReport> {
  return runMethod(context, options.iterations, EsdRun.create(context, options));
}

/** Everything that one run holds between iterations. */
class EsdRun implements MethodRun {
  private constructor(
    private readonly context: ErasureContext,
    private readonly options: Parsed,
    private readonly learningRate: ScheduleFunction,
    /** c_e and c_0, (n, L, d) and (1, L, d); c_f, (n, L, d), where it is another than c_e. */
    private readonly embeddings: { concept: Tensor; empty: Tensor; from: Tensor | null },
    private readonly trainer: Trainer,
    private readonly preservation: Preservation | null,
    private readonly source: LatentSource,
  ) {}

  static async create(context: ErasureContext, options: Parsed): Promise<EsdRun> {
    const encode = (names: readonly string[]): Promise<Tensor> =>
      context.encode(fillTemplates(names, options.templates).map(({ text }) => text));
    const concept = await encode(context.concepts);
    const from = options.from.length === 0 ? null : await encode(options.from);
    const empty = await context.encode([""]);
    const sampled = options.sampledBy === "teacher" ? context.teacher : context.student;
    return new EsdRun(
      context,
      options,
      parseSchedule("learningRate", options.learningRate),
      { concept, empty, from },
      await Trainer.create(context.student, context.trained),
      await Preservation.create(context, options.preserveWeight),
      await openLatents(context, options, from ?? concept, empty, sampled),
    );
  }

  async step(iteration: number): Promise<Record<string, number>> {
    const { context, embeddings, options, preservation, source, trainer } = this;
    const batch = await source.next(iteration);
    const condition = rows(embeddings.from ?? embeddings.concept, batch.texts); // (B, L, d)
    const { target, known } = await noGrad(() => this.teacherTarget(batch, condition));

    await trainer.open();
    const { latents, timesteps } = batch; // (B, 4, h, w)
    const predicted = await context.predict(context.student, latents, timesteps, condition, { grad: true });
    const erase = predicted.mse(target);
    await erase.backward();
    const byStudent = options.sampledBy === "student";
    await noGrad(() => source.advance(iteration, byStudent ? { conditional: predicted.detach() } : known));
    const preserve = (await preservation?.backward(iteration, batch)) ?? null;
    await trainer.step(this.learningRate(iteration, options.iterations));
    return readLosses({ erase, preserve });
  }

  /** What the student is drawn to, (B, 4, h, w), and the teacher's predictions that serve its own trajectories. */
  private async teacherTarget(
    batch: LatentBatch,
    condition: Tensor,
  ): Promise<{ target: Tensor; known: KnownPredictions }> {
    const { context, embeddings, options } = this;
    const empty = repeated(embeddings.empty, batch.timesteps.length);
    const named = embeddings.from === null ? [] : [rows(embeddings.concept, batch.texts)];
    const conditions = [condition, empty, ...named] as const;
    const all = await predictEach(context, context.teacher, batch, conditions);
    const [conditional, unconditional, concept] = all;
    const start = concept === undefined ? unconditional : conditional;
    const direction = (concept ?? conditional).sub(unconditional);
    const target = start.sub(direction.mul(options.negativeGuidance));
    return { target, known: { conditional, unconditional } };
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([...this.trainer.tensors(), ...this.source.tensors()]);
  }

  numbers(): unknown {
    return this.source.numbers();
  }

  restore(numbers: unknown): void {
    this.source.restore(numbers);
  }

  async close(): Promise<void> {
    this.trainer.dispose();
    this.preservation?.dispose();
    const { concept, empty, from } = this.embeddings;
    for (const tensor of [concept, empty, from, ...this.source.tensors().values()]) tensor?.dispose();
    await this.source.close?.();
  }
}

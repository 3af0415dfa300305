import { finite, flag, integer, invalid } from "../../check";
import { makePictures } from "../../diffusion/make-pictures";
import { hashUNet } from "../../diffusion/model-hash";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { checkPictures, encodePictures } from "../../diffusion/picture-latents";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { KpopError } from "../../errors";
import type { Image } from "../../io/image";
import { selectParameters, type ParameterSelector } from "../../models/parameter-selector";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope, unscoped } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { readLosses } from "../../training/read-losses";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { Preservation } from "../shared/preservation";
import { rows } from "../shared/rows";
import { checkTemplates } from "../shared/texts";
import { runMethod, type MethodRun } from "../shared/run-method";
import { Trainer } from "../shared/trainer";
import {
  checkTrainingOptions,
  trainingDefaults,
  trainingHelp,
  type TrainingOptions,
} from "../shared/training-options";
import { chooseAlpha, checkAlphaSearch, type AlphaSearch } from "../choose-alpha";
import { subtract, TaskVector, type WeightedVector } from "../task-vector";

/** Options of task vectors, before defaults. */
export interface TaskVectorOptions extends CommonOptions, TrainingOptions {
  method: "task-vector";
  /** How much of τ is taken off, for all concepts or for each; or how that is looked for. Default 1. */
  alpha?: number | number[] | AlphaSearch;
  /** Pictures by concept, to train on in place of generated ones: Image objects, or paths of PNG files. Default none. */
  pictures?: Readonly<Record<string, readonly (Image | string)[]>>;
  /** Pictures of a concept that the model makes where none are given. Default 200. */
  images?: number;
  /** What pictures are made of, "{}" standing for the concept, and what they are called. Default the bare name. */
  templates?: string[];
  /**
   * What pictures are called in training, in place of `templates`; "{}" may be missing: under "" or "a photo" the model
   * learns to draw the concept unasked, and unlearns it whatever it is asked with. Default ["", "a photo"].
   */
  captions?: string[];
  /** Denoising steps of generated pictures. Default 25. */
  samplingSteps?: number;
  /** Guidance scale of generated pictures. Default 6. */
  guidanceScale?: number;
  /** Where they are kept, for this and later runs. Default "", kpop-native/images in the user's cache directory. */
  cacheDirectory?: string;
  /** Whether every other picture is mirrored, left to right. Default true. */
  mirror?: boolean;
  /** Updates for each concept. Default 250. */
  iterations?: number;
  /** z_t per iteration. Default 4. */
  batchSize?: number;
  /** Adam's rate for the weights. Default 3e-4; nothing was measured at 512 pixels. */
  learningRate?: Schedule;
  /** The weights that may change. Default "full". */
  parameters?: ParameterSelector;
  /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
  maxGradientNorm?: number;
}

/** Pictures that inversions are learned from, as in arXiv 2308.01508. */
const INVERTED_PICTURES = 25;

type Own = Omit<TaskVectorOptions, keyof CommonOptions | "method">;
/** Complete and checked. */
interface Parsed extends Required<Own> {
  method: "task-vector";
}

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  alpha: 1,
  pictures: {},
  images: 200,
  templates: ["{}"],
  captions: ["", "a photo"],
  samplingSteps: 25,
  guidanceScale: 6,
  cacheDirectory: "",
  mirror: true,
  ...trainingDefaults,
  iterations: 250,
  batchSize: 4,
  parameters: "full" as const,
  learningRate: 3e-4,
  maxGradientNorm: 1,
});

/**
 * Task vectors (arXiv 2404.03631): the weights are fine-tuned towards a concept, θ_ft, and the way there is gone
 * backwards: θ' = θ_pre − α τ, τ = θ_ft − θ_pre; several concepts each have a τ of their own, θ' = θ_pre − Σ α_c τ_c.
 *
 * Fine-tuning is Adam on ‖ε_θ(z_t, t, c) − n‖², z_t the noised latents of the concept's pictures and c their captions,
 * means over elements; without weight decay, which would be part of τ. `preserve` holds prompts in place meanwhile.
 *
 * The paper's rate, steps and pictures are not known. Defaults were chosen on an earlier built-in model, on 32 pictures of
 * churches: under "church" and "a photo of a church" in place of the captions here, τ of cross-attention alone erased
 * nothing before α = 8, where all else was gone too, and τ of all weights took more of other prompts along. Which α is
 * enough depends on the model: try several with `TaskVector.apply`.
 */
export const taskVector: ErasureMethod<Parsed> = {
  name: "task-vector",
  reference: "arXiv 2404.03631",
  defaults,
  help: {
    alpha: "how much of the task vector is taken off; one, or one for each concept",
    pictures: "pictures by concept",
    images: "pictures of a concept that the model makes to train on",
    guidanceScale: "guidance scale of those pictures",
    cacheDirectory: "where those pictures are kept (default: the user's cache directory)",
    mirror: "train on pictures as they are",
    ...trainingHelp,
    iterations: "updates of the weights, for each concept",
    templates: 'captions of the pictures, such as "a photo of a {}"',
    captions: "captions to train under, in place of templates",
    samplingSteps: "denoising steps of the pictures",
    maxGradientNorm: "norm that gradients are scaled down to",
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
  const o = { ...defaults, ...given, method: "task-vector" } as Parsed;
  checkAlpha(o, base, concepts);
  checkGivenPictures(o.pictures, concepts);
  integer("images", o.images, 1);
  checkTemplates(o.templates);
  if (!Array.isArray(o.captions) || o.captions.some((caption: unknown) => typeof caption !== "string"))
    throw invalid("captions", "a list of strings", o.captions);
  integer("samplingSteps", o.samplingSteps, 1, base.schedule.length);
  finite("guidanceScale", o.guidanceScale, 0);
  if (typeof o.cacheDirectory !== "string") throw invalid("cacheDirectory", "a path", o.cacheDirectory);
  flag("mirror", o.mirror);
  if (finite("maxGradientNorm", o.maxGradientNorm, 0) === 0)
    throw invalid("maxGradientNorm", "a number > 0", o.maxGradientNorm);
  checkTrainingOptions(o, base);
  return o;
}

function checkAlpha({ alpha, parameters }: Parsed, base: StableDiffusion, concepts: readonly string[]): void {
  if (isSearch(alpha)) {
    checkAlphaSearch(alpha, base, selectParameters(parameters, base.unet.parameterNames()));
    return;
  }
  const alphas = Array.isArray(alpha) ? alpha : [alpha];
  for (const one of alphas) finite("alpha", one);
  if (alphas.length === 1 || alphas.length === concepts.length) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected alpha to be one number, or one for each of ${concepts.length} concepts, but it has ${alphas.length}`,
  );
}

function isSearch(alpha: unknown): alpha is AlphaSearch {
  return typeof alpha === "object" && alpha !== null && !Array.isArray(alpha);
}

function checkGivenPictures(pictures: unknown, concepts: readonly string[]): void {
  if (typeof pictures !== "object" || pictures === null || Array.isArray(pictures))
    throw invalid("pictures", "an object of lists of pictures by concept", pictures);
  for (const [concept, images] of Object.entries(pictures)) {
    if (!concepts.includes(concept))
      throw invalid("pictures", `pictures of ${concepts.map((c) => JSON.stringify(c)).join(", ")}`, concept);
    checkPictures(images);
  }
}

function run(context: ErasureContext, options: Parsed): AsyncIterable<StepReport> {
  return runMethod(
    context,
    options.iterations * context.concepts.length,
    TaskVectorRun.create(context, options),
  );
}

/** Pictures of a concept, and what they are called. */
interface Material {
  readonly images: readonly (Image | string)[];
  /** (N, 4, h, w) float32; with mirror images behind the pictures. */
  readonly latents: Tensor;
  /** Captions of each, one of which is drawn. */
  readonly captions: readonly (readonly string[])[];
}

/** Everything that one run holds between iterations. */
class TaskVectorRun implements MethodRun {
  private readonly learningRate: ScheduleFunction;
  /** τ of the concepts that are done, by key. */
  private readonly done: Map<string, Tensor>[] = [];

  private constructor(
    private readonly context: ErasureContext,
    private readonly options: Parsed,
    private readonly materials: readonly Material[],
    private trainer: Trainer,
    private readonly preservation: Preservation | null,
  ) {
    this.learningRate = parseSchedule("learningRate", options.learningRate);
  }

  static async create(context: ErasureContext, options: Parsed): Promise<TaskVectorRun> {
    const materials: Material[] = [];
    for (const concept of context.concepts) materials.push(await picturesOf(context, options, concept));
    return new TaskVectorRun(
      context,
      options,
      materials,
      await newTrainer(context, options),
      await Preservation.create(context, options.preserveWeight),
    );
  }

  /** One update; the last one of a concept leaves τ, and the weights where they began. */
  async step(index: number): Promise<Record<string, number>> {
    const { context, options, preservation, trainer } = this;
    const iteration = index % options.iterations;
    const { captions, ...drawn } = this.batch(Math.floor(index / options.iterations), iteration);
    await trainer.open();
    const condition = await noGrad(() => context.encode(captions));
    const predicted = await context.predict(context.student, drawn.latents, drawn.timesteps, condition, {
      grad: true,
    });
    const denoising = predicted.mse(drawn.noise);
    await denoising.backward();
    const preserve = (await preservation?.backward(index, drawn)) ?? null;
    await trainer.step(this.learningRate(iteration, options.iterations));
    if (iteration === options.iterations - 1) await this.complete();
    return readLosses({ denoising, preserve });
  }

  /** Noisy pictures of a concept. They depend on its name, not on which concepts it is erased with. */
  private batch(index: number, iteration: number) {
    const { base, concepts, random } = this.context;
    const { latents: clean, captions } = this.materials[index]!;
    const own = random.at("task-vector", concepts[index]!, iteration);
    const draws = Array.from({ length: this.options.batchSize }, (_, item) => own.at("item", item));
    const pictures = draws.map((draw) => draw.at("picture").below(captions.length));
    const noisy = noisyLatents(base.schedule, rows(clean, pictures), own.at("noise"));
    const drawn = pictures.map((picture, item) => {
      const names = captions[picture]!;
      return names[draws[item]!.at("caption").below(names.length)]!;
    });
    return { ...noisy, captions: drawn };
  }

  /** Takes τ, and starts over for the next concept. */
  private async complete(): Promise<void> {
    const { student, teacher, trained } = this.context;
    const change = (name: string): Tensor => {
      const weight = student.parameter(name);
      return weight.detach().sub(teacher.parameter(name).to(weight.dtype));
    };
    const tau = keep(scope(() => noGrad(() => new Map(trained.map((name) => [name, change(name)])))));
    this.done.push(tau);
    for (const name of trained) await student.parameter(name).copyFrom(teacher.parameter(name));
    this.trainer.dispose();
    this.trainer = await newTrainer(this.context, this.options);
  }

  /** Takes all τ off the weights, and leaves them beside the result. */
  async finish(): Promise<void> {
    const { base, concepts, signal, student, taskVectors, trained } = this.context;
    const hash = await hashUNet(base, signal);
    for (const [index, tau] of this.done.entries()) {
      const parameters = new Map<string, Tensor>();
      for (const [name, tensor] of tau) {
        const copy = unscoped(() => noGrad(() => tensor.to({ device: "cpu" })));
        parameters.set(name, await (copy.native === tensor.native ? copy.clone() : copy).settled());
      }
      taskVectors.push(new TaskVector({ parameters, base: hash, concepts: [concepts[index]!] }));
    }
    const weighted: WeightedVector[] = [];
    for (const [index, vector] of taskVectors.entries())
      weighted.push({ vector, ...(await this.strength(index, vector)) });
    await subtract({ unet: student }, trained, weighted);
  }

  private async strength(
    index: number,
    vector: TaskVector,
  ): Promise<Pick<WeightedVector, "alpha" | "names">> {
    const { base, evaluations, preserve, random, signal } = this.context;
    const { alpha } = this.options;
    if (typeof alpha === "number") return { alpha };
    if (!isSearch(alpha)) return { alpha: alpha[index] ?? alpha[0]! };
    const choice = await chooseAlpha(base, vector, {
      ...alpha,
      images: this.materials[index]!.images.slice(0, INVERTED_PICTURES),
      seed: random.at("alpha", index).below(2 ** 31),
      ...(preserve.length === 0 ? {} : { retain: preserve }),
      ...(signal === undefined ? {} : { signal }),
    });
    evaluations.add(choice.unetEvaluations);
    return { alpha: choice.alpha, names: new Set(choice.parameters) };
  }

  tensors(): ReadonlyMap<string, Tensor> {
    const taus = this.done.flatMap((tau, index) =>
      [...tau].map(([name, tensor]) => [`tau.${index}.${name}`, tensor] as const),
    );
    return new Map([...this.trainer.tensors(), ...taus]);
  }

  numbers(): unknown {
    return this.done.length;
  }

  restore(numbers: unknown): void {
    const { device } = this.context.base;
    const { student, trained } = this.context;
    const zeros = (name: string): Tensor =>
      unscoped(() => Tensor.zeros(student.parameter(name).shape, { device }));
    for (let index = 0; index < (numbers as number); index++)
      this.done.push(new Map(trained.map((name) => [name, zeros(name)])));
  }

  close(): void {
    this.trainer.dispose();
    this.preservation?.dispose();
    for (const { latents } of this.materials) latents.dispose();
    for (const tau of this.done) for (const tensor of tau.values()) tensor.dispose();
  }
}

function newTrainer({ student, trained }: ErasureContext, { maxGradientNorm }: Parsed): Promise<Trainer> {
  return Trainer.create(student, trained, { maxGradientNorm });
}

/** The pictures of a concept: those given, else those that the model makes of its captions. */
async function picturesOf(context: ErasureContext, options: Parsed, concept: string): Promise<Material> {
  const { base, signal } = context;
  const { images: count, mirror, pictures, templates } = options;
  const named = (texts: readonly string[]): string[] =>
    texts.map((text) => text.replaceAll("{}", () => concept));
  const names = named(templates);
  const captions = options.captions.length > 0 ? named(options.captions) : null;
  const given = pictures[concept];
  const encode = (images: readonly (Image | string)[]) =>
    scope(() => encodePictures(base, images, { mirrored: mirror, signal }));
  if (given !== undefined) {
    const { latents } = await encode(given);
    return {
      images: given,
      latents,
      captions: Array.from({ length: latents.shape[0]! }, () => captions ?? names),
    };
  }
  const items = Array.from({ length: count }, (_, i) => ({ prompt: names[i % names.length]!, seed: i }));
  const set = await makePictures(context, items, options);
  const paths = items.map((_, i) => set.path(i));
  const { latents } = await encode(paths);
  const each = items.map(({ prompt }) => captions ?? [prompt]);
  return { images: paths, latents, captions: mirror ? [...each, ...each] : each };
}

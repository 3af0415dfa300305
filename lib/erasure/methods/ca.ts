import { finite, flag, integer, invalid, nonEmptyString, oneOf } from "../../check";
import { noisyLatents } from "../../diffusion/noisy-latents";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { KpopError } from "../../errors";
import type { ParameterSelector } from "../../models/parameter-selector";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import type { Tensor } from "../../runtime/tensor";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { AnchorPictures } from "../shared/anchor-pictures";
import {
  captionPairs,
  checkPrompts,
  CONCEPT_KINDS,
  type AnchoredConcept,
  type CaptionPair,
  type ConceptKind,
} from "../shared/caption-pairs";
import { maskedError } from "../shared/masked-error";
import { LEAST_CELLS } from "../shared/placement";
import { Preservation } from "../shared/preservation";
import { readLosses } from "../../training/read-losses";
import { checkTemplates } from "../shared/texts";
import { runMethod, type MethodRun } from "../shared/run-method";
import { Trainer } from "../shared/trainer";
import { TOKEN_EMBEDDING, TrainedWords, wordsOf } from "../shared/trained-words";
import {
  checkTrainingOptions,
  trainingDefaults,
  trainingHelp,
  type TrainingOptions,
} from "../shared/training-options";

/** Options of CA, before defaults. */
export interface CaOptions extends CommonOptions, Omit<TrainingOptions, "parameters"> {
  method: "ca";
  /**
   * What the concepts become, c*: one text for all of them, or one for each; "cat" for "grumpy cat". Default
   * "a photo" for objects, "painting" for styles.
   */
  anchor?: string | string[];
  /** How captions of the anchor become captions of the concept: its name in the anchor's place, or its style. Default "object". */
  kind?: ConceptKind;
  /** Captions of the anchor's pictures, "{}" standing for its name, and for an object's. Default the bare name. */
  templates?: string[];
  /** Whole captions in place of `templates`; an object takes those that name its anchor. The paper has 200. */
  anchorPrompts?: string[];
  /** Pictures of each anchor, at least one for each caption. Default 200; the paper has 200 to 1000. */
  images?: number;
  /** Denoising steps of those pictures. Default 25. */
  samplingSteps?: number;
  /** Guidance scale of those pictures. Default 6. */
  guidanceScale?: number;
  /** Where they are kept, for this and later runs. Default "", kpop-native/images in the user's cache directory. */
  cacheDirectory?: string;
  /**
   * What c is drawn to: the student's own prediction for c* ("model", default), or the "noise" in the latents. On an
   * earlier built-in model noise erased as well, but what the name then drew was not the anchor either.
   */
  objective?: "model" | "noise";
  /** Weight of the prior loss, which holds c* in place: for names that overlap. >= 0, default 0. */
  priorWeight?: number;
  /** Whether pictures are mirrored, and for objects scaled. Default true. */
  augment?: boolean;
  /** Default 100, the paper's. On an earlier built-in model 400 at the same rate cost most of what was to stay. */
  iterations?: number;
  /** Pictures an iteration. Default 4, the paper's on each of two GPUs. */
  batchSize?: number;
  /**
   * AdamW's rate. Default 1e-3: on an earlier built-in model, "church" with the anchor "castle", 100 iterations at 2e-4
   * left 13 churches of 20 pictures where there had been 14, 5e-4 left 2, and 1e-3 none, with 23 of 24 other pictures still
   * what they were named. "embedding" took 1e-2. Stable Diffusion 1.x has the paper's 1.6e-5; nothing was measured at that size.
   */
  learningRate?: Schedule;
  /**
   * The weights that may change; or "embedding": only the rows of the text encoder's embedding table that belong to
   * words which a concept has and its anchor has not. Default "xattn-kv".
   */
  parameters?: ParameterSelector | "embedding";
  /** AdamW's. >= 0, default 1e-2. */
  weightDecay?: number;
  /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
  maxGradientNorm?: number;
}

type Own = Omit<CaOptions, keyof CommonOptions | "method">;
/** Complete and checked. */
interface Parsed extends Required<Omit<Own, "anchor">> {
  method: "ca";
  /** One for each concept. */
  anchor: readonly string[];
}

const ANCHORS: Readonly<Record<ConceptKind, string>> = { object: "a photo", style: "painting" };

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  anchor: [],
  kind: "object" as const,
  templates: ["{}"],
  anchorPrompts: [],
  images: 200,
  samplingSteps: 25,
  guidanceScale: 6,
  cacheDirectory: "",
  objective: "model" as const,
  priorWeight: 0,
  augment: true,
  ...trainingDefaults,
  iterations: 100,
  batchSize: 4,
  parameters: "xattn-kv" as const,
  learningRate: 1e-3,
  weightDecay: 1e-2,
  maxGradientNorm: 1,
});

/**
 * CA: concept ablation (Kumari et al. 2023, arXiv 2303.13516).
 *
 * The model draws pictures x of an anchor c*, once. Each iteration, on z_t of such pictures at a uniform t, θ' takes a
 * step of AdamW on ‖ε_θ'(z_t, t, c) - sg ε_θ'(z_t, t, c*)‖² ("model": sg stops gradients, and the anchor's prediction is
 * that of the student as it is), or on ‖ε_θ'(z_t, t, c) - n‖² with the noise n of z_t ("noise"); c is the caption c*
 * with the concept in it. The prior loss is ‖ε_θ'(z_t, t, c*) - n‖².
 *
 * All are means over elements; of scaled pictures, over the latents within their border. Pictures are sampled with the
 * checkpoint's own sampler; the paper's script has DPM-Solver++.
 */
export const ca: ErasureMethod<Parsed> = {
  name: "ca",
  reference: "arXiv 2303.13516",
  defaults,
  help: {
    anchor: `what the concept becomes; one, or one for each concept (default: "${ANCHORS.object}", for a style "${ANCHORS.style}")`,
    kind: "object, or style: how a caption of the anchor becomes one of the concept",
    anchorPrompts: "whole captions of the anchor's pictures, in place of templates",
    images: "pictures of each anchor",
    guidanceScale: "guidance scale of those pictures",
    cacheDirectory: "where those pictures are kept (default: the user's cache directory)",
    objective: "what the concept is drawn to: model, the prediction for its anchor, or noise",
    priorWeight: "weight of the loss that holds the anchor in place",
    augment: "train on pictures as they are",
    ...trainingHelp,
    templates: 'captions of the anchor, such as "a photo of a {}"',
    samplingSteps: "denoising steps of the anchor's pictures",
    weightDecay: "AdamW's weight decay",
    maxGradientNorm: "norm that gradients are scaled down to",
  },
  parse,
  network: ({ parameters }) => (parameters === "embedding" ? "textEncoder" : "unet"),
  parameters: ({ parameters }) =>
    parameters === "embedding" ? (name) => name === TOKEN_EMBEDDING : parameters,
  run,
};

function parse(
  given: Readonly<Record<string, unknown>>,
  base: StableDiffusion,
  concepts: readonly string[],
): Parsed {
  const o = { ...defaults, ...given, method: "ca" } as Parsed;
  oneOf("kind", o.kind, CONCEPT_KINDS);
  checkTemplates(o.templates);
  checkPrompts("anchorPrompts", o.anchorPrompts);
  integer("samplingSteps", o.samplingSteps, 1, base.schedule.length);
  finite("guidanceScale", o.guidanceScale, 0);
  if (typeof o.cacheDirectory !== "string") throw invalid("cacheDirectory", "a path", o.cacheDirectory);
  oneOf("objective", o.objective, ["model", "noise"]);
  finite("priorWeight", o.priorWeight, 0);
  finite("weightDecay", o.weightDecay, 0);
  if (finite("maxGradientNorm", o.maxGradientNorm, 0) === 0)
    throw invalid("maxGradientNorm", "a number > 0", o.maxGradientNorm);
  const { parameters } = o;
  checkTrainingOptions({ ...o, parameters: parameters === "embedding" ? "full" : parameters }, base);
  checkAugment(o, base);
  const parsed = { ...o, anchor: parseAnchors(o.anchor, o.kind, concepts) };
  checkCaptions(parsed, concepts);
  if (parameters === "embedding") wordsOf(base.tokenizer, withAnchors(parsed, concepts));
  return parsed;
}

function checkAugment({ augment, kind }: Parsed, { imageSize, vae }: StableDiffusion): void {
  flag("augment", augment);
  const cells = imageSize / vae.downsampling;
  if (!augment || kind === "style" || cells >= LEAST_CELLS) return;
  throw invalid("augment", `false for latents of less than ${LEAST_CELLS} × ${LEAST_CELLS}`, augment);
}

function parseAnchors(given: unknown, kind: ConceptKind, concepts: readonly string[]): string[] {
  if (typeof given === "string") return parseAnchors([given], kind, concepts);
  if (!Array.isArray(given)) throw invalid("anchor", "a non-empty string or a list of them", given);
  for (const anchor of given) nonEmptyString("anchor", anchor);
  const listed = given as string[];
  const anchors = listed.length === 0 ? [ANCHORS[kind]] : listed;
  if (anchors.length !== 1 && anchors.length !== concepts.length)
    throw invalid("anchor", `one text, or as many as there are concepts (${concepts.length}),`, given);
  const each = concepts.map((_, index) => anchors[index] ?? anchors[0]!);
  const same = concepts.find((concept, index) => concept === each[index]);
  if (same !== undefined)
    throw invalid("anchor", `another text than the concept ${JSON.stringify(same)}`, same);
  return each;
}

/** Every caption given must be one of some concept, and have a picture. */
function checkCaptions(options: Parsed, concepts: readonly string[]): void {
  integer("images", options.images, 1);
  const pairs = captionsOf(options, concepts);
  const most = Math.max(...pairs.map((own) => own.length));
  if (options.images < most)
    throw invalid("images", `at least ${most}, one for each caption`, options.images);
  const used = new Set(pairs.flat().map(({ anchor }) => anchor));
  const unused = options.anchorPrompts.find((prompt) => !used.has(prompt));
  if (unused === undefined) return;
  const names = options.anchor.map((anchor) => JSON.stringify(anchor)).join(", ");
  throw invalid("each of anchorPrompts", `a text that names an anchor (${names})`, unused);
}

/** Captions of each concept. */
function captionsOf(options: Parsed, concepts: readonly string[]): CaptionPair[][] {
  const { kind, templates, anchorPrompts: prompts } = options;
  return withAnchors(options, concepts).map((pair) => captionPairs(pair, kind, { templates, prompts }));
}

function withAnchors({ anchor }: Parsed, concepts: readonly string[]): AnchoredConcept[] {
  return concepts.map((concept, index) => ({ concept, anchor: anchor[index]! }));
}

function run(context: ErasureContext, options: Parsed): AsyncIterable<StepReport> {
  return runMethod(context, options.iterations, CaRun.create(context, options));
}

/** Everything that one run holds between iterations. */
class CaRun implements MethodRun {
  private constructor(
    private readonly context: ErasureContext,
    private readonly options: Parsed,
    private readonly learningRate: ScheduleFunction,
    private readonly pictures: AnchorPictures,
    /** Trained in place of the UNet's weights. */
    private readonly words: TrainedWords | null,
    private readonly trainer: Trainer,
    private readonly preservation: Preservation | null,
  ) {}

  static async create(context: ErasureContext, options: Parsed): Promise<CaRun> {
    const { augment, kind, parameters, weightDecay, maxGradientNorm } = options;
    if (parameters === "embedding" && context.preserve.length > 0) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        'Expected no prompts in preserve where parameters is "embedding": prompts without the concept\'s words stay as they are by themselves',
      );
    }
    const augmentation = !augment ? "none" : kind === "style" ? "mirror" : "scale";
    const captions = captionsOf(options, context.concepts);
    const pictures = await AnchorPictures.create(context, captions, { ...options, augmentation });
    const words =
      parameters === "embedding"
        ? await TrainedWords.create(
            context,
            wordsOf(context.base.tokenizer, withAnchors(options, context.concepts)),
          )
        : null;
    const adam = { decoupled: true, weightDecay, maxGradientNorm };
    return new CaRun(
      context,
      options,
      parseSchedule("learningRate", options.learningRate),
      pictures,
      words,
      words === null
        ? await Trainer.create(context.student, context.trained, adam)
        : await Trainer.create({ parameter: () => words.embeddings }, context.trained, adam),
      await Preservation.create(context, options.preserveWeight),
    );
  }

  async step(iteration: number): Promise<Record<string, number>> {
    const { context, options, preservation, trainer } = this;
    const { anchors, mask, targets, ...drawn } = await this.noisy(iteration);
    const { latents, noise, timesteps } = drawn; // (B, 4, h, w)
    const encoder = this.words ?? context;
    const predict = async (captions: readonly string[], grad: boolean): Promise<Tensor> => {
      const condition = await (grad ? encoder.encode(captions) : noGrad(() => encoder.encode(captions)));
      return context.predict(context.student, latents, timesteps, condition, { grad });
    };

    await trainer.open();
    const held = options.priorWeight > 0;
    const guided = options.objective === "model";
    const anchored = held || guided ? await predict(anchors, held) : null;
    const prior = held ? maskedError(anchored!, noise, mask) : null;
    await prior?.mul(options.priorWeight).backward();
    const target = guided ? anchored!.detach() : noise;
    const erase = maskedError(await predict(targets, true), target, mask);
    await erase.backward();
    const preserve = (await preservation?.backward(iteration, drawn)) ?? null;
    await trainer.step(this.learningRate(iteration, options.iterations));
    return readLosses({ erase, prior, preserve });
  }

  /** Pictures of the anchors at noise levels drawn for them. */
  private async noisy(iteration: number) {
    const { base, random } = this.context;
    const { clean, ...texts } = await noGrad(() => this.pictures.next(iteration));
    return { ...texts, ...noisyLatents(base.schedule, clean, random.at("noise", iteration)) };
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return this.trainer.tensors();
  }

  numbers(): unknown {
    return null;
  }

  restore(): void {}

  /** Leaves the result where it is saved from. */
  async finish(): Promise<void> {
    await this.words?.write();
  }

  close(): void {
    this.trainer.dispose();
    this.words?.dispose();
    this.preservation?.dispose();
    this.pictures.dispose();
  }
}

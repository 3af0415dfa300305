import type { AddedConditions, PromptLayers, PromptMechanism, UNet2DConditionModel } from "../models/unet";
import { KpopError } from "../errors";
import { noGrad } from "../runtime/grad-mode";
import { Tensor, type Dtype } from "../runtime/tensor";
import { countEvaluations } from "../training/evaluations";
import { noiseMixture } from "./prediction-type";
import type { NoiseSchedule } from "./noise-schedule";
import { joined, repeated, rows, textsIn, type Condition } from "./condition";
import { sizeNumbers, takesSizes, type PictureSizes } from "./picture-sizes";
import { steersGuidance, tapsOf, type Intervention } from "./interventions/intervention";

/** What predicts: a network, the dtype that it computes in, and what changes how it denoises. */
export interface Denoiser {
  readonly unet: UNet2DConditionModel;
  readonly dtype: Dtype;
  /** Says how many pixels the latents stand for, of which networks of Stable Diffusion XL are told. Default 8 to a side. */
  readonly vae?: { readonly downsampling: number };
  /** Says what the network predicts, and at what level. Default: ε. */
  readonly schedule?: Pick<NoiseSchedule, "predictionType" | "level">;
  readonly interventions?: readonly Intervention[];
  /** Tensors in the place of some of its weights, made for each prediction: gradients go into what they are computed from. */
  substitutes?(): ReadonlyMap<string, Tensor>;
  /** Texts as conditions, with what guidance leads away from in the place of an empty one; needed where an intervention
   *  steers guidance. */
  condition?(prompts: readonly string[], options?: { guiding?: boolean }): Promise<Condition>;
}

/** A model's own network, without interventions. */
export function networkOf({
  unet,
  vae,
  dtype,
  schedule,
}: Required<Pick<Denoiser, "unet" | "vae" | "dtype" | "schedule">>) {
  return { unet, vae, dtype, schedule };
}

/** Latents on their way to noise. */
export interface NoisyBatch {
  /** z_t, (B, 4, h, w). */
  readonly latents: Tensor;
  /** t of each item, or of all. */
  readonly timesteps: number | readonly number[];
}

/** A learned prompt and where it enters cross-attention (KPOP, arXiv 2403.12326, §3.3). */
export interface Injection {
  /**
   * concat: (k, d) or (B, k, d). additive: (L, d) or (B, L, d). Or that as a function p(c) of the texts' token states,
   * (B, L, d).
   */
  readonly prompt: Tensor | ((context: Tensor) => Tensor);
  readonly mechanism: PromptMechanism;
  readonly layers: PromptLayers;
}

/** How a prediction is made. */
export interface PredictOptions {
  readonly injection?: Injection | undefined;
  /** Whether to record a graph for `backward()`. Default false. */
  readonly grad?: boolean;
  /** What a network of Stable Diffusion XL is told of all pictures. */
  readonly sizes?: PictureSizes | undefined;
}

/**
 * ε(z_t, t, c): the one way to a network's prediction, in its compute dtype. Each item counts as one evaluation. Of a
 * network that predicts v it is √ᾱ v + √(1−ᾱ) z.
 *
 * Interventions on the network's modules are at work in every evaluation. Where one steers guidance, it is the prediction
 * that guidance takes for the conditional one, as at the beginning of a trajectory whose warm-up is over.
 * @returns (B, 4, h, w) float32
 * @throws INVALID_ARGUMENT when shapes do not fit
 */
export async function predictNoise(
  model: Denoiser,
  batch: NoisyBatch,
  condition: Condition,
  options: PredictOptions = {},
): Promise<Tensor> {
  const steering = (model.interventions ?? []).filter(steersGuidance);
  const conditional = await predictUnsteered(model, batch, condition, options);
  if (steering.length === 0) return conditional;
  const size = textsIn(condition);
  return await noGradUnless(options.grad, async () => {
    let steered = conditional;
    for (const intervention of steering) {
      const texts = await noGrad(() => model.condition!(["", ...intervention.prompts], { guiding: true }));
      const others = Array.from({ length: textsIn(texts) }, (_, text) => repeated(rows(texts, [text]), size));
      const [unconditional, ...own] = await noGrad(() => evaluateEach(model, batch, others));
      const step = Number.MAX_SAFE_INTEGER;
      steered = intervention
        .start()
        .steer({ conditional: steered, unconditional: unconditional!, others: own, step });
    }
    return steered;
  });
}

/**
 * ε without what steers guidance, for the same z_t and t under each of several conditions, in one batch of them all.
 * @param conditions of B texts each
 * @returns (B, 4, h, w) float32 for each condition, in their order
 */
export async function evaluateEach<const Conditions extends readonly Condition[]>(
  model: Denoiser,
  batch: NoisyBatch,
  conditions: Conditions,
  options: PredictOptions = {},
): Promise<{ [K in keyof Conditions]: Tensor }> {
  const each: readonly Tensor[] = await ownPredictions(model, batch, conditions, options);
  return each.map((own) => noiseOf(model, batch, own)) as { [K in keyof Conditions]: Tensor };
}

/** ε of what the network itself predicts for z_t and t, (B, 4, h, w) float32: that itself, or what v says. */
export function noiseOf({ schedule }: Denoiser, { latents, timesteps }: NoisyBatch, own: Tensor): Tensor {
  if (schedule === undefined || schedule.predictionType === "epsilon") return own;
  const factors = timestepsOf(timesteps).map((t) => noiseMixture(schedule.predictionType, schedule.level(t)));
  const ofOwn = factors.map(({ prediction }) => prediction);
  const ofLatents = factors.map((factor) => factor.latents);
  return own.mul(eachItem(ofOwn, own)).add(latents.to("float32").mul(eachItem(ofLatents, own)));
}

/**
 * What the network itself predicts once ε has changed by `change`. Where z_t is noise alone, ε is z_t whatever is predicted,
 * and nothing changes.
 */
export function movedBy(
  { schedule }: Denoiser,
  { timesteps }: NoisyBatch,
  own: Tensor,
  change: Tensor,
): Tensor {
  if (schedule === undefined || schedule.predictionType === "epsilon") return own.add(change);
  const signals = timestepsOf(timesteps).map((t) => schedule.level(t).signal);
  const factors = signals.map((signal) => (signal === 0 ? 0 : 1 / signal));
  return own.add(change.mul(eachItem(factors, own)));
}

function timestepsOf(timesteps: NoisyBatch["timesteps"]): readonly number[] {
  return typeof timesteps === "number" ? [timesteps] : timesteps;
}

/** A factor for each item, or for all, to multiply (B, 4, h, w) by. */
function eachItem(factors: readonly number[], { device }: Tensor): Tensor {
  return Tensor.from(Float32Array.from(factors), [factors.length, 1, 1, 1], { device });
}

/**
 * As `evaluateEach`, what the network itself predicts, ε or v: what samplers take, and guidance combines. For the same z_t
 * either is a linear function of the other, but where there is noise alone v tells of the picture and ε does not.
 */
export async function ownPredictions<const Conditions extends readonly Condition[]>(
  model: Denoiser,
  batch: NoisyBatch,
  conditions: Conditions,
  options: PredictOptions = {},
): Promise<{ [K in keyof Conditions]: Tensor }> {
  if (conditions.length === 0) return [] as never;
  const size = batch.latents.shape[0]!;
  for (const condition of conditions) checkTexts(batch, condition);
  const count = conditions.length;
  const prompt = options.injection?.prompt;
  const all = await evaluate(
    model,
    batch,
    joined(conditions),
    // A prompt of its own for each item goes with that item under every condition.
    prompt instanceof Tensor && prompt.shape.length === 3
      ? {
          ...options,
          injection: { ...options.injection!, prompt: Tensor.cat(Array<Tensor>(count).fill(prompt)) },
        }
      : options,
  );
  const each = conditions.map((_, index) => all.slice(0, index * size, (index + 1) * size));
  return each as { [K in keyof Conditions]: Tensor };
}

/** As `predictNoise`, without what steers guidance. */
export async function predictUnsteered(
  model: Denoiser,
  batch: NoisyBatch,
  condition: Condition,
  options: PredictOptions = {},
): Promise<Tensor> {
  checkTexts(batch, condition);
  return noiseOf(model, batch, await evaluate(model, batch, condition, options));
}

/**
 * What the network itself predicts, with the interventions on its modules.
 * @param condition of B texts, or of a multiple: all latents under the first B, then all under the next, and so on
 */
async function evaluate(
  model: Denoiser,
  batch: NoisyBatch,
  condition: Condition,
  { injection, grad, sizes }: PredictOptions,
): Promise<Tensor> {
  const { context, texts } = condition;
  const { unet, dtype, interventions = [] } = model;
  const size = textsIn(condition);
  countEvaluations(size);
  const shared = { latents: batch.latents.to(dtype), timesteps: batch.timesteps };
  // Pooled texts enter before the first cross-attention, and interventions look at latents text by text.
  const pooled = takesSizes(unet);
  const whole = pooled || interventions.length > 0 ? forEachText(shared, size) : shared;
  const { latents, timesteps } = whole;
  const each = typeof timesteps === "number" ? Array<number>(size).fill(timesteps) : timesteps;
  const added = addedTo(model, latents, condition, sizes);
  const taps = await tapsOf(interventions, { unet, latents, timesteps: each, context, texts, added });
  const { prompt, ...where } = injection ?? {};
  const input = pooled || (taps !== undefined && !unet.seeTexts(Object.keys(taps))) ? whole : shared;
  const noise = await unet.forward(input.latents, input.timesteps, context, {
    ...(added === undefined ? {} : { added }),
    ...(taps === undefined ? {} : { taps }),
    ...(prompt === undefined
      ? {}
      : { ...where, prompt: typeof prompt === "function" ? prompt(context) : prompt }),
    ...(grad === undefined ? {} : { grad }),
    ...(model.substitutes === undefined ? {} : { parameters: model.substitutes() }),
  });
  return noise.to("float32");
}

function checkTexts({ latents }: NoisyBatch, condition: Condition): void {
  const [size, texts] = [latents.shape[0]!, textsIn(condition)];
  if (texts === size) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected the condition to be of ${size} texts, one for each of the latents, but received ${texts}`,
  );
}

/** Latents and timesteps as often as it takes to have one for each text. */
function forEachText({ latents, timesteps }: NoisyBatch, texts: number): NoisyBatch {
  const count = texts / latents.shape[0]!;
  if (count === 1) return { latents, timesteps };
  const each = Array<NoisyBatch>(count).fill({ latents, timesteps });
  return {
    latents: Tensor.cat(each.map((batch) => batch.latents)),
    timesteps: typeof timesteps === "number" ? timesteps : each.flatMap(() => timesteps),
  };
}

/**
 * How much each place of a picture attends to each token of its text: the probabilities of every cross-attention module
 * (attn2), in forward order. The network goes no further than the last of them; each item counts as one evaluation.
 * @param options.grad whether to record a graph for `backward()`. Default false
 * @returns (B, heads, N, L) in the model's dtype for each module, N being the places at its resolution
 * @throws INVALID_ARGUMENT when shapes do not fit
 */
export async function crossAttention(
  model: Denoiser,
  { latents, timesteps }: NoisyBatch,
  condition: Condition,
  options: { grad?: boolean } = {},
): Promise<Tensor[]> {
  const { unet, dtype } = model;
  const added = addedTo(model, latents, condition);
  countEvaluations(latents.shape[0]!);
  const names = unet.crossAttentionNames().map((name) => `${name}.probabilities`);
  const found = await unet.activations(latents.to(dtype), timesteps, condition.context, names, {
    ...options,
    ...(added === undefined ? {} : { added }),
    ...(model.substitutes === undefined ? {} : { parameters: model.substitutes() }),
  });
  return names.map((name) => found.get(name)!);
}

/** Pixels that one element of latents stands for, along a side, where nobody says. */
const PIXELS = 8;

/**
 * What a network of Stable Diffusion XL is told beside text and time: the pooled text, and the picture's sizes, by default
 * that it was neither resized nor cropped, as of diffusers' pipeline. Undefined for networks that take nothing.
 * @throws INVALID_ARGUMENT where the texts are not pooled
 */
function addedTo(
  { unet, vae }: Denoiser,
  { shape, device }: Tensor,
  { pooled }: Condition,
  sizes?: PictureSizes,
): AddedConditions | undefined {
  if (!takesSizes(unet)) return undefined;
  if (pooled === undefined)
    throw new KpopError(
      "INVALID_ARGUMENT",
      "Expected the condition to have pooled texts, which this network takes beside token states, but it has none",
    );
  const [height, width] = shape.slice(2).map((side) => side * (vae?.downsampling ?? PIXELS));
  const ofItem = sizeNumbers([height!, width!], sizes);
  const ids = Array.from({ length: shape[0]! }, () => ofItem).flat();
  return { pooled, timeIds: Tensor.from(Float32Array.from(ids), [shape[0]!, ofItem.length], { device }) };
}

function noGradUnless<T>(grad: boolean | undefined, fn: () => T): T {
  return grad === true ? fn() : noGrad(fn);
}

import type { PromptLayers, PromptMechanism, UNet2DConditionModel } from "../models/unet";
import { noGrad } from "../runtime/grad-mode";
import { Tensor, type Dtype } from "../runtime/tensor";
import { countEvaluations } from "../training/evaluations";
import { joined, repeated, rows, textsIn, type Condition } from "./condition";
import type { Intervention } from "./interventions/intervention";

/** What predicts: a network, the dtype that it computes in, and what changes how it denoises. */
export interface Denoiser {
  readonly unet: UNet2DConditionModel;
  readonly dtype: Dtype;
  readonly interventions?: readonly Intervention[];
  /** Texts as conditions; needed where an intervention has texts of its own. */
  condition?(prompts: readonly string[]): Promise<Condition>;
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
}

/**
 * ε(z_t, t, c): the one way to a network's prediction, in its compute dtype. Each item counts as one evaluation.
 *
 * Where an intervention steers guidance, it is the prediction that guidance takes for the conditional one, as at the
 * beginning of a trajectory whose warm-up is over.
 * @returns (B, 4, h, w) float32
 * @throws INVALID_ARGUMENT when shapes do not fit
 */
export async function predictNoise(
  model: Denoiser,
  batch: NoisyBatch,
  condition: Condition,
  options: PredictOptions = {},
): Promise<Tensor> {
  const { interventions = [] } = model;
  if (interventions.length === 0) return evaluate(model, batch, condition, options);
  const size = textsIn(condition);
  const conditional = await evaluate(model, batch, condition, options);
  return await noGradUnless(options.grad, async () => {
    let steered = conditional;
    for (const intervention of interventions) {
      const texts = await noGrad(() => model.condition!(["", ...intervention.prompts]));
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
 * Predictions of the bare network for the same z_t and t under each of several conditions, in one batch of them all.
 * @param conditions of B texts each
 * @returns (B, 4, h, w) float32 for each condition, in their order
 */
export async function evaluateEach<const Conditions extends readonly Condition[]>(
  model: Denoiser,
  { latents, timesteps }: NoisyBatch,
  conditions: Conditions,
  options: PredictOptions = {},
): Promise<{ [K in keyof Conditions]: Tensor }> {
  if (conditions.length === 0) return [] as never;
  const size = latents.shape[0]!;
  const count = conditions.length;
  const prompt = options.injection?.prompt;
  const all = await evaluate(
    model,
    {
      latents: Tensor.cat(conditions.map(() => latents)),
      timesteps: typeof timesteps === "number" ? timesteps : conditions.flatMap(() => timesteps),
    },
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

async function evaluate(
  { unet, dtype }: Denoiser,
  { latents, timesteps }: NoisyBatch,
  { context }: Condition,
  { injection, grad }: PredictOptions,
): Promise<Tensor> {
  countEvaluations(latents.shape[0]!);
  const { prompt, ...where } = injection ?? {};
  const noise = await unet.forward(latents.to(dtype), timesteps, context, {
    ...(prompt === undefined
      ? {}
      : { ...where, prompt: typeof prompt === "function" ? prompt(context) : prompt }),
    ...(grad === undefined ? {} : { grad }),
  });
  return noise.to("float32");
}

function noGradUnless<T>(grad: boolean | undefined, fn: () => T): T {
  return grad === true ? fn() : noGrad(fn);
}

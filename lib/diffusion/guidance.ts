import type { Tensor } from "../runtime/tensor";
import type { Condition } from "./condition";
import type { Steering } from "./interventions/intervention";
import type { PictureSizes } from "./picture-sizes";
import { movedBy, noiseOf, ownPredictions, type Denoiser, type Injection, type NoisyBatch } from "./predict";

/** What classifier-free guidance leads towards and away from. */
export interface Guidance {
  /** Of the B prompts. */
  readonly text: Condition;
  /** Of the negative or empty prompt, B times; null where guidance is off (scale 1). */
  readonly negative: Condition | null;
  readonly guidanceScale: number;
  /** A learned prompt and where it enters. */
  readonly injection?: Injection | undefined;
  /** Whether the negative half sees the learned prompt too. Default false: guidance would subtract what it adds. */
  readonly injectNegative?: boolean;
  /** What a network of Stable Diffusion XL is told of all pictures, in both halves. */
  readonly sizes?: PictureSizes | undefined;
  /** The model's interventions at work on this trajectory, and their prompts, B times each. */
  readonly steering?: readonly { readonly by: Steering; readonly prompts: readonly Condition[] }[];
}

/**
 * Classifier-free guidance (arXiv 2207.12598 eq. 6, in the form of Stable Diffusion): ε = ε_u + w (ε_c - ε_u), all in
 * one batch (two where only one half sees a learned prompt); the negative half is skipped when w = 1. Nothing steers guidance
 * of w ≤ 1. Interventions see ε; all else is in what the network itself predicts, ε or v.
 * @param batch (B, 4, h, w)
 * @param step the sampler's steps so far
 * @returns (B, 4, h, w) float32, for a sampler
 */
export async function guidedPrediction(
  model: Denoiser,
  batch: NoisyBatch,
  guidance: Guidance,
  step = 0,
): Promise<Tensor> {
  const { text, negative, guidanceScale, injection, sizes, steering = [] } = guidance;
  const seeing = { injection, sizes };
  if (negative === null) return (await ownPredictions(model, batch, [text] as const, seeing))[0];

  const extra = steering.flatMap(({ prompts }) => prompts);
  let unconditional: Tensor;
  let conditional: Tensor;
  let others: readonly Tensor[];
  if (injection === undefined || guidance.injectNegative === true) {
    [unconditional, conditional, ...others] = await ownPredictions(
      model,
      batch,
      [negative, text, ...extra] as const,
      seeing,
    );
  } else {
    [unconditional, ...others] = await ownPredictions(model, batch, [negative, ...extra] as const, { sizes });
    [conditional] = await ownPredictions(model, batch, [text] as const, seeing);
  }
  for (const { by, prompts } of steering) {
    const own = [conditional, unconditional, ...others.slice(0, prompts.length)];
    const [given, empty, ...unsafe] = own.map((one) => noiseOf(model, batch, one));
    const steered = by.steer({ conditional: given!, unconditional: empty!, others: unsafe, step });
    if (steered !== given)
      conditional = given === conditional ? steered : movedBy(model, batch, conditional, steered.sub(given!));
    others = others.slice(prompts.length);
  }
  return combine(unconditional, conditional, guidanceScale);
}

/** ε_u + w (ε_c - ε_u). */
export function combine(unconditional: Tensor, conditional: Tensor, guidanceScale: number): Tensor {
  return unconditional.add(conditional.sub(unconditional).mul(guidanceScale));
}

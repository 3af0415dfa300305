import type { PromptLayers, PromptMechanism } from "../models/unet";
import type { Tensor } from "../runtime/tensor";
import type { Condition } from "./condition";
import type { LearnedToken } from "./learned-tokens";
import type { Model } from "./model";
import type { Injection } from "./predict";

/** Whether a prompt's rows were learned, or a function that gives each text its own. @useDeclaredType */
export type PromptForm = (typeof PROMPT_FORMS)[number];
export const PROMPT_FORMS = ["free", "amortised"] as const;

/** Where a prompt enters: behind the text encoder, or before it as words of the text. @useDeclaredType */
export type PromptPlace = (typeof PROMPT_PLACES)[number];
export const PROMPT_PLACES = ["cross-attention", "token"] as const;

/** How a learned prompt comes about and where it enters (KPOP, arXiv 2403.12326, §3.3). */
export interface PromptKind {
  readonly form: PromptForm;
  readonly place: PromptPlace;
  /** Of no meaning to words before the text encoder, nor are the layers. */
  readonly mechanism: PromptMechanism;
  readonly layers: PromptLayers;
}

/** What predictions are conditioned on under a prompt. */
export interface Prompted<C extends readonly Condition[]> {
  readonly conditions: C;
  readonly injection?: Injection;
}

/**
 * Conditions under a learned prompt: in cross-attention they stay and there is something to inject; learned words change
 * the conditions, whose texts are encoded again with the words behind them. Gradients go to the prompt.
 * @param prompt (k, d), or (B, k, d) with one for each item of every condition; of the amortised form (2h, d)
 * @param conditions of B texts each
 * @param tokens learned tokens that the texts may name
 * @throws INVALID_ARGUMENT where words do not fit the text encoder
 */
export async function applyPrompt<const C extends readonly Condition[]>(
  model: Pick<Model, "condition">,
  prompt: Tensor,
  { form, place, mechanism, layers }: PromptKind,
  conditions: C,
  tokens: readonly LearnedToken[] = [],
): Promise<Prompted<C>> {
  if (place === "cross-attention") {
    const own = form === "amortised" ? (context: Tensor) => amortisedPrompt(prompt, context) : prompt;
    return { conditions, injection: { prompt: own, mechanism, layers } };
  }
  const worded: Condition[] = [];
  for (const { texts } of conditions) worded.push(await model.condition(texts!, { tokens, words: prompt }));
  return { conditions: worded as readonly Condition[] as C };
}

/**
 * The prompt that an amortised one gives to texts: p(c) = relu(c Aᵀ) B for each row c.
 * @param weights (2h, d): A above B
 * @param context (B, L, d)
 * @returns (B, L, d), of the context's dtype
 */
export function amortisedPrompt(weights: Tensor, context: Tensor): Tensor {
  const half = weights.shape[0]! / 2;
  const [down, up] = [weights.slice(0, 0, half), weights.slice(0, half)];
  const prompt = context.to("float32").matmul(down.transpose(0, 1)).relu().matmul(up);
  return prompt.to(context.dtype);
}

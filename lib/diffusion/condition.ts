import { Tensor } from "../runtime/tensor";

/** What a prediction is conditioned on: the encodings of B texts. */
export interface Condition {
  /** Token states, (B, L, d). */
  readonly context: Tensor;
  /** The texts, where they are known: what learned words are put behind. */
  readonly texts?: readonly string[] | undefined;
}

/** How many texts a condition is of. */
export function textsIn({ context }: Condition): number {
  return context.shape[0]!;
}

/** Some of a condition's texts, repeated and in any order. */
export function rows({ context, texts }: Condition, indices: readonly number[]): Condition {
  return { context: context.rows(indices), texts: texts && indices.map((index) => texts[index]!) };
}

/** A single text as often as it is needed, without copying. */
export function repeated({ context, texts }: Condition, count: number): Condition {
  return {
    context: context.expand([count, ...context.shape.slice(1)]),
    texts: texts && Array<string>(count).fill(texts[0]!),
  };
}

/** Conditions one after the other, as one. */
export function joined(conditions: readonly Condition[]): Condition {
  const texts = conditions.flatMap((condition) => condition.texts ?? []);
  const context = Tensor.cat(conditions.map((condition) => condition.context));
  return { context, texts: texts.length === context.shape[0] ? texts : undefined };
}

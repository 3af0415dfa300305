import { Tensor } from "../runtime/tensor";

/** What a prediction is conditioned on: the encodings of B texts. */
export interface Condition {
  /** Token states, (B, L, d). */
  readonly context: Tensor;
}

/** How many texts a condition is of. */
export function textsIn({ context }: Condition): number {
  return context.shape[0]!;
}

/** Some of a condition's texts, repeated and in any order. */
export function rows({ context }: Condition, indices: readonly number[]): Condition {
  return { context: context.rows(indices) };
}

/** A single text as often as it is needed, without copying. */
export function repeated({ context }: Condition, count: number): Condition {
  return { context: context.expand([count, ...context.shape.slice(1)]) };
}

/** Conditions one after the other, as one. */
export function joined(conditions: readonly Condition[]): Condition {
  return { context: Tensor.cat(conditions.map(({ context }) => context)) };
}

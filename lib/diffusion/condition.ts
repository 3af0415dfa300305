import { Tensor } from "../runtime/tensor";

/** What a prediction is conditioned on: the encodings of B texts. */
export interface Condition {
  /** Token states, (B, L, d). */
  readonly context: Tensor;
  /** Each text as one vector, (B, p): of Stable Diffusion XL, whose networks need it. */
  readonly pooled?: Tensor | undefined;
  /** The texts, where they are known: what learned words are put behind. */
  readonly texts?: readonly string[] | undefined;
}

/** How many texts a condition is of. */
export function textsIn({ context }: Condition): number {
  return context.shape[0]!;
}

/** Some of a condition's texts, repeated and in any order. */
export function rows({ context, pooled, texts }: Condition, indices: readonly number[]): Condition {
  return {
    context: context.rows(indices),
    pooled: pooled?.rows(indices),
    texts: texts && indices.map((index) => texts[index]!),
  };
}

/** A single text as often as it is needed, without copying. */
export function repeated({ context, pooled, texts }: Condition, count: number): Condition {
  return {
    context: context.expand([count, ...context.shape.slice(1)]),
    pooled: pooled?.expand([count, ...pooled.shape.slice(1)]),
    texts: texts && Array<string>(count).fill(texts[0]!),
  };
}

/** Conditions one after the other, as one. */
export function joined(conditions: readonly Condition[]): Condition {
  const texts = conditions.flatMap((condition) => condition.texts ?? []);
  const context = Tensor.cat(conditions.map((condition) => condition.context));
  const pooled = conditions.flatMap((condition) => condition.pooled ?? []);
  return {
    context,
    pooled: pooled.length === conditions.length ? Tensor.cat(pooled) : undefined,
    texts: texts.length === context.shape[0] ? texts : undefined,
  };
}

/** With zeros in the place of what empty texts are encoded as. */
export function withoutEmpty({ context, pooled, texts }: Condition): Condition {
  const kept = Float32Array.from(texts!, (text) => (text === "" ? 0 : 1));
  const masked = (tensor: Tensor): Tensor => {
    const shape = tensor.shape.map((size, dim) => (dim === 0 ? size : 1));
    return tensor.mul(Tensor.from(kept, shape, { dtype: tensor.dtype, device: tensor.device }));
  };
  return { context: masked(context), pooled: pooled && masked(pooled), texts };
}

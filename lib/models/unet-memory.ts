import type { UNetOperation } from "./unet-operations";

/** Which part of a forward a backward goes through. */
export interface GraphExtent {
  /** Whether the weight of the operation of that name is trained. */
  trains(name: string): boolean;
  /** Whether the operation takes something else that a gradient is wanted of: a learned prompt. Default none does. */
  prompts?(name: string): boolean;
  /** Whether norms and gates keep what they take alone, as they do in our own kernels, on a CPU. Default false. */
  readonly fused?: boolean;
}

/**
 * Elements that the graph of one forward keeps for its backward, for one item: what PyTorch's formulas save of what the
 * network computes. From the first operation that needs a gradient on, convolutions, norms, activations and attention keep
 * what they take, products with a vector of features keep it where their weight is trained.
 * @param list `unetOperations` of the network
 */
export function savedElements(
  list: readonly UNetOperation[],
  { trains, prompts = () => false, fused = false }: GraphExtent,
): number {
  const first = list.findIndex(({ name }) => trains(name) || prompts(name));
  if (first < 0) return 0;
  return list.slice(first).reduce((sum, each) => sum + savedBy(each, trains, fused), 0);
}

function savedBy(
  { name, inputs, outputs, weights, input }: UNetOperation,
  trains: GraphExtent["trains"],
  fused: boolean,
): number {
  // Queries, keys, values and the result.
  if (weights === 0) return inputs + outputs;
  if (input === "time") return trains(name) ? inputs : 0;
  const own = trains(name) ? inputs : 0;
  // What its norm takes; keys and values of self-attention are products of the same.
  if (name.endsWith(".to_q")) {
    const others = name.includes(".attn1.") ? ["to_k", "to_v"] : [];
    const shared = others.some((other) => trains(name.replace(/to_q$/, other)));
    return inputs + (shared ? inputs : own);
  }
  if (/\.to_(?:[kv]|out\.0)$/.test(name)) return 0;
  // What its norm takes; of its halves the values and the gate, which may be kept after its activation as well.
  if (name.endsWith(".ff.net.0.proj")) return inputs + own + (fused ? 1 : 1.5) * outputs;
  if (name.endsWith(".proj_in")) return inputs + own;
  if (name.endsWith(".ff.net.2") || name.endsWith(".proj_out") || name === "conv_in") return own;
  // What comes in is what the block's first norm takes.
  if (name.endsWith(".conv_shortcut")) return 0;
  if (/samplers\.\d+\.conv$/.test(name)) return inputs;
  // A residual block's convolutions and the last one: what their norm takes and they themselves; between them, perhaps, the
  // activation.
  return (fused ? 2 : 3) * inputs;
}

/** Elements that a forward without a graph holds at once, at most: for the batch, and of weights that a convolution repacks. */
export interface PassElements {
  /** For one item: what the way up takes in again, and what the widest operation reads and writes. */
  readonly item: number;
  readonly weights: number;
}

/** @param list `unetOperations` of the network */
export function passElements(list: readonly UNetOperation[]): PassElements {
  const skips = list
    .filter(({ name }) => name === "conv_in" || /^down_blocks\.\d+\.(?:resnets\.\d+\.conv2|downsamplers\.0\.conv)$/.test(name))
    .reduce((sum, { outputs }) => sum + outputs, 0);
  return {
    item: skips + 2 * Math.max(...list.map(({ inputs, outputs }) => inputs + outputs)),
    weights: Math.max(...list.filter(({ name }) => /conv/.test(name)).map(({ weights }) => weights)),
  };
}

import { type Random, Tensor } from "../../lib/index";

/** What all networks have. */
interface Network {
  parameterShapes(): Readonly<Record<string, number[]>>;
  assign(tensors: ReadonlyMap<string, Tensor>): Promise<void>;
}

/** Layers that a residual adds to its input begin at zero, so that each block begins as the identity. */
const ZERO = /(resnets\.\d+\.conv2|\.proj_out|^conv_out)\.weight$/;

/**
 * Gives a network its first weights: normal with PyTorch's default variance, 1 / (3 fan-in); 0.02 for embeddings; 1 for
 * the scales of norms; 0 for biases and for the last layers of residuals.
 */
export async function initialise(network: Network, random: Random, device: string): Promise<void> {
  const weights = new Map<string, Tensor>();
  for (const [name, shape] of Object.entries(network.parameterShapes())) {
    weights.set(name, first(name, shape, random.at(name)).to({ device }));
  }
  await network.assign(weights);
}

function first(name: string, shape: readonly number[], random: Random): Tensor {
  if (name.endsWith("num_batches_tracked")) return Tensor.zeros(shape, { dtype: "int64" });
  if (name.endsWith("running_var")) return Tensor.zeros(shape).add(1);
  if (name.endsWith("running_mean") || ZERO.test(name)) return Tensor.zeros(shape);
  if (/embedding/.test(name) && !/time_embedding|patch_embedding/.test(name))
    return random.normal(shape).mul(0.02);
  if (shape.length < 2) return name.endsWith("weight") ? Tensor.zeros(shape).add(1) : Tensor.zeros(shape);
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  return random.normal(shape).mul(1 / Math.sqrt(3 * fanIn));
}

import { type Random, Tensor } from "../../lib/index";

interface Network {
  parameterShapes(): Readonly<Record<string, number[]>>;
  assign(tensors: ReadonlyMap<string, Tensor>): Promise<void>;
}

/** What residual branches end with: begun at zero, each block begins as the identity. */
const LAST = /(resnets\.\d+\.conv2|\.proj_out|^conv_out)\.weight$/;

/** First weights: PyTorch's default variance of 1 / (3 fan-in), scales of norms 1, biases and the ends of residuals 0. */
export async function initialise(network: Network, random: Random): Promise<void> {
  const weights = Object.entries(network.parameterShapes()).map(([name, shape]): [string, Tensor] => [
    name,
    first(name, shape, random.at(name)),
  ]);
  await network.assign(new Map(weights));
}

function first(name: string, shape: readonly number[], random: Random): Tensor {
  if (name.endsWith("num_batches_tracked")) return Tensor.zeros(shape, { dtype: "int64" });
  if (LAST.test(name)) return Tensor.zeros(shape);
  if (shape.length < 2) return Tensor.zeros(shape).add(/(weight|running_var)$/.test(name) ? 1 : 0);
  const fanIn = shape.slice(1).reduce((product, length) => product * length, 1);
  return random.normal(shape).mul(1 / Math.sqrt(3 * fanIn));
}

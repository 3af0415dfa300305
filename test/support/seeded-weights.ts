import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";

/** Random weights that need no file: test/fixtures/seeded_weights.py draws the same ones. */
export function seededWeights(shapes: Readonly<Record<string, readonly number[]>>): Map<string, Tensor> {
  return new Map(
    Object.entries(shapes).map(([name, shape], index) => {
      const draws = new Random(index).normal(shape);
      if (name.endsWith("num_batches_tracked")) return [name, Tensor.from([3], [], { dtype: "int64" })];
      if (name.endsWith("running_var")) return [name, draws.abs().mul(0.5).add(1)];
      if (shape.length >= 2) return [name, draws.div(Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)))];
      return [name, name.endsWith("weight") ? draws.mul(0.2).add(1) : draws.mul(0.2)];
    }),
  );
}

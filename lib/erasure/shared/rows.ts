import { Tensor } from "../../runtime/tensor";

/** Rows of a tensor along its first dimension, repeated and in any order: (n, …) → (indices.length, …). */
export function rows(tensor: Tensor, indices: readonly number[]): Tensor {
  const at = Tensor.from([...indices], [indices.length], { dtype: "int64", device: tensor.device });
  return tensor.indexSelect(0, at);
}

/** A single row as often as it is needed, without copying: (1, …) → (count, …). */
export function repeated(tensor: Tensor, count: number): Tensor {
  return tensor.expand([count, ...tensor.shape.slice(1)]);
}

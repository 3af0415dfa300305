import type { NativeDtype, NativeTensor } from "../../typings/native";
import { flag, integer, invalid, knownKeys, oneOf } from "../check";
import { KpopError } from "../errors";
import { addon } from "./binding";
import { adopt } from "./scope";
import { gradEnabled } from "./grad-mode";

/** Element types. @useDeclaredType */
export type Dtype = NativeDtype;
/** The arrays that elements come in and go out as. */
export type TypedArray =
  Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array | Uint8ClampedArray;

const dtypes: readonly Dtype[] = [
  "float32",
  "float64",
  "float16",
  "bfloat16",
  "int64",
  "int32",
  "uint8",
  "bool",
];

/** What a new tensor is beside its elements. */
export interface TensorOptions {
  /** Default: the dtype of the data; float32 for plain numbers. */
  dtype?: Dtype;
  /** Default "cpu". */
  device?: string;
  /** Whether gradients are wanted for it. Default false. */
  requiresGrad?: boolean;
}

/**
 * A multi-dimensional array that lives in libtorch.
 *
 * Operations return at once: they queue the work on the device's thread, in call order, and give a handle whose shape
 * and dtype are known already. A mistake in shapes throws at the call; what fails later (no memory, say) rejects
 * `data()`, `item()` and `backward()` of everything that depends on it. A graph for `backward()` is recorded where an
 * input asks for gradients, unless inside `noGrad`.
 */
export class Tensor {
  /** @internal */
  readonly native: NativeTensor;
  /** @internal Whether `copyFrom` or an optimizer has written to it. */
  written = false;
  /** @internal Least and largest element, where they are known without a look at the device's memory. */
  range: readonly [number, number] | undefined;
  private shapeCache: number[] | undefined;

  /** @internal Use `Tensor.from`, `Tensor.empty` or an operation. */
  constructor(native: NativeTensor) {
    this.native = native;
    adopt(this);
  }

  /**
   * A tensor with a copy of `data`.
   * @param data elements in row-major order, as many as `shape` holds
   * @throws INVALID_ARGUMENT when the count differs from the shape's, or gradients are wanted for integers
   */
  static from(
    data: TypedArray | readonly number[],
    shape: readonly number[],
    options: TensorOptions = {},
  ): Tensor {
    checkOptions(options);
    if (!ArrayBuffer.isView(data) && !Array.isArray(data))
      throw invalid("data", "a typed array or a list of numbers", data);
    const array = ArrayBuffer.isView(data) ? data : numbersToArray(data, options.dtype);
    const count = elementCount("shape", shape);
    if (array.length !== count) {
      throw invalid("data", `${count} elements, as shape [${shape.join(", ")}] holds,`, array.length);
    }
    const dtype = oneOf("dtype", options.dtype ?? dtypeOf(array), dtypes);
    const { device = "cpu" } = options;
    const tensor = new Tensor(addon().fromData(array, [...shape], dtype, device, wantsGrad(options, dtype)));
    if (dtype === "int64") tensor.range = rangeOf(array);
    return tensor;
  }

  /** Host memory that nothing has written yet; fill it through `hostBytes()`. */
  static empty(shape: readonly number[], dtype: Dtype = "float32"): Tensor {
    elementCount("shape", shape);
    return new Tensor(addon().empty([...shape], oneOf("dtype", dtype, dtypes)));
  }

  /** A tensor of zeros. @throws INVALID_ARGUMENT when gradients are wanted for integers, OUT_OF_MEMORY */
  static zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
    checkOptions(options);
    elementCount("shape", shape);
    const dtype = oneOf("dtype", options.dtype ?? "float32", dtypes);
    const { device = "cpu" } = options;
    return new Tensor(addon().zeros([...shape], dtype, device, wantsGrad(options, dtype)));
  }

  /** Concatenates along `dim`. */
  static cat(tensors: readonly Tensor[], dim = 0): Tensor {
    return run("cat", tensors, [dim]);
  }

  /** Joins tensors of one shape along a new dimension. */
  static stack(tensors: readonly Tensor[], dim = 0): Tensor {
    return run("stack", tensors, [dim]);
  }

  get shape(): number[] {
    this.shapeCache ??= this.live().shape;
    return [...this.shapeCache];
  }

  get dtype(): Dtype {
    return this.live().dtype;
  }

  /** "cpu", "cuda:0", ... */
  get device(): string {
    return this.live().device;
  }

  /** Number of elements. */
  get size(): number {
    this.shapeCache ??= this.live().shape;
    return this.shapeCache.reduce((a, b) => a * b, 1);
  }

  get disposed(): boolean {
    return this.native.disposed;
  }

  // Elementwise. A number stands for a tensor of that value.

  add(other: Tensor | number): Tensor {
    return typeof other === "number" ? run("add_scalar", [this], [], [other]) : run("add", [this, other]);
  }
  sub(other: Tensor | number): Tensor {
    return typeof other === "number" ? run("add_scalar", [this], [], [-other]) : run("sub", [this, other]);
  }
  mul(other: Tensor | number): Tensor {
    return typeof other === "number" ? run("mul_scalar", [this], [], [other]) : run("mul", [this, other]);
  }
  div(other: Tensor | number): Tensor {
    return typeof other === "number" ? run("div_scalar", [this], [], [other]) : run("div", [this, other]);
  }
  pow(exponent: number): Tensor {
    return run("pow_scalar", [this], [], [exponent]);
  }
  maximum(other: Tensor): Tensor {
    return run("maximum", [this, other]);
  }
  minimum(other: Tensor): Tensor {
    return run("minimum", [this, other]);
  }
  clamp(minimum: number, maximum: number): Tensor {
    return run("clamp", [this], [], [minimum, maximum]);
  }
  neg(): Tensor {
    return run("neg", [this]);
  }
  abs(): Tensor {
    return run("abs", [this]);
  }
  square(): Tensor {
    return run("square", [this]);
  }
  sqrt(): Tensor {
    return run("sqrt", [this]);
  }
  exp(): Tensor {
    return run("exp", [this]);
  }
  log(): Tensor {
    return run("log", [this]);
  }
  round(): Tensor {
    return run("round", [this]);
  }
  floor(): Tensor {
    return run("floor", [this]);
  }
  relu(): Tensor {
    return run("relu", [this]);
  }

  // Products and reductions. Without `dims` a reduction is over all elements and gives a scalar.

  matmul(other: Tensor): Tensor {
    return run("matmul", [this, other]);
  }
  softmax(dim = -1): Tensor {
    return run("softmax", [this], [dim]);
  }
  /** log(softmax), without the underflow of taking one after the other. */
  logSoftmax(dim = -1): Tensor {
    return run("log_softmax", [this], [dim]);
  }
  /**
   * The lower triangular L with L·Lᵀ = this, a symmetric positive definite (..., n, n) of float32 or float64.
   * What reads it rejects with NUMERIC_FAILURE where the matrix is not positive definite.
   */
  cholesky(): Tensor {
    return run("cholesky", [this]);
  }
  /**
   * The X with A·X = this, (..., n, k), by two triangular solves.
   * @param factor `A.cholesky()`, (..., n, n)
   */
  choleskySolve(factor: Tensor): Tensor {
    return run("cholesky_solve", [this, factor]);
  }
  /**
   * Eigenvectors of this, a symmetric (..., n, n) of float32 or float64, as columns by ascending eigenvalue; only its lower
   * triangle is read.
   */
  eigenvectors(): Tensor {
    return run("eigenvectors", [this]);
  }
  /** Singular values of this, (..., m, n) of float32 or float64, in descending order: (..., min(m, n)). */
  singularValues(): Tensor {
    return run("singular_values", [this]);
  }
  /**
   * The rotation R (RᵀR = 1, det R = 1) with the largest tr(Rᵀ·this), of a (..., n, n) of float32 or float64: with its
   * singular value decomposition U Σ Vᵀ, R = U diag(1, …, 1, det UVᵀ) Vᵀ (the orthogonal Procrustes problem).
   */
  nearestRotation(): Tensor {
    return run("nearest_rotation", [this]);
  }
  sum(dims?: number | readonly number[], keepDim = false): Tensor {
    return dims === undefined ? run("sum_all", [this]) : run("sum", [this], reduction(dims, keepDim));
  }
  mean(dims?: number | readonly number[], keepDim = false): Tensor {
    return dims === undefined ? run("mean_all", [this]) : run("mean", [this], reduction(dims, keepDim));
  }
  amax(dims: number | readonly number[], keepDim = false): Tensor {
    return run("amax", [this], reduction(dims, keepDim));
  }
  amin(dims: number | readonly number[], keepDim = false): Tensor {
    return run("amin", [this], reduction(dims, keepDim));
  }
  /** int64 indices of the largest elements along `dim`. */
  argmax(dim = -1): Tensor {
    return run("argmax", [this], [dim]);
  }
  /** The `count` largest elements along `dim`, from the largest on; as many as there are at most. */
  topk(count: number, dim = -1): Tensor {
    return run("topk", [this], [count, dim]);
  }
  /** Mean over all elements of (this - other)². */
  mse(other: Tensor): Tensor {
    return run("mse", [this, other]);
  }

  // Shape.

  cat(others: Tensor | readonly Tensor[], dim = 0): Tensor {
    return Tensor.cat([this, ...(others instanceof Tensor ? [others] : others)], dim);
  }
  /** Elements `start` up to `end` (exclusive; negative counts from the end) along `dim`. */
  slice(dim: number, start: number, end: number = Number.MAX_SAFE_INTEGER, step = 1): Tensor {
    return run("slice", [this], [dim, start, end, step]);
  }
  /** Rows `indices` (int64) along `dim`. */
  indexSelect(dim: number, indices: Tensor): Tensor {
    return run("index_select", [this, indices], [dim]);
  }
  /** Rows along the first dimension, repeated and in any order: (n, …) → (indices.length, …). */
  rows(indices: readonly number[]): Tensor {
    const at = Tensor.from([...indices], [indices.length], { dtype: "int64", device: this.device });
    return this.indexSelect(0, at);
  }
  reshape(shape: readonly number[]): Tensor {
    return run("reshape", [this], shape);
  }
  /** Repeats dimensions of length 1 without copying. */
  expand(shape: readonly number[]): Tensor {
    return run("expand", [this], shape);
  }
  permute(dims: readonly number[]): Tensor {
    return run("permute", [this], dims);
  }
  transpose(a: number, b: number): Tensor {
    return run("transpose", [this], [a, b]);
  }
  squeeze(dim: number): Tensor {
    return run("squeeze", [this], [dim]);
  }
  unsqueeze(dim: number): Tensor {
    return run("unsqueeze", [this], [dim]);
  }
  contiguous(): Tensor {
    return run("contiguous", [this]);
  }
  clone(): Tensor {
    return run("clone", [this]);
  }
  /** The same storage, outside of the graph. */
  detach(): Tensor {
    return run("detach", [this]);
  }

  /** In another dtype or on another device; shares storage when nothing changes. */
  to(target: Dtype | { dtype?: Dtype; device?: string }): Tensor {
    const { dtype = this.dtype, device = this.device } =
      typeof target === "string" ? { dtype: target } : target;
    return new Tensor(addon().to(this.live(), oneOf("dtype", dtype, dtypes), device, gradEnabled()));
  }

  // Reading.

  /** A copy of the elements, row-major. float16 and bfloat16 come as Float32Array, int64 as BigInt64Array. */
  async data(): Promise<TypedArray> {
    return (await addon().read(this.live())) as TypedArray;
  }

  /** The one element of a scalar. @throws INVALID_ARGUMENT when there are more */
  async item(): Promise<number> {
    if (this.size !== 1) throw invalid("the tensor", "a single element for item()", this.shape);
    return addon().item(this.live());
  }

  /** The elements as they are stored, little-endian; do not write to it. */
  bytes(): Promise<Uint8Array> {
    return addon().readBytes(this.live());
  }

  /** The memory of a tensor made by `Tensor.empty`: writes to it are writes to the tensor. */
  hostBytes(): Uint8Array {
    return addon().hostBytes(this.live());
  }

  /** Resolves when the tensor has been computed. */
  async settled(): Promise<this> {
    await addon().settle(this.live());
    return this;
  }

  /** Overwrites the elements, outside of the graph; shapes must match. */
  async copyFrom(source: Tensor): Promise<void> {
    if (source.shape.join() !== this.shape.join())
      throw invalid("source", `of shape [${this.shape.join(", ")}]`, source.shape);
    this.written = true;
    this.range = undefined;
    await addon().copyInto(this.live(), source.live());
  }

  // Autograd.

  /** Asks for gradients, or no longer; for leaves only. */
  async requireGrad(on = true): Promise<this> {
    await addon().requireGrad([this.live()], on);
    return this;
  }

  /**
   * Adds the gradients of this scalar to the `grad` of the leaves that ask for them and frees the graph.
   * @param inputs when given, only into these
   */
  async backward(inputs?: readonly Tensor[]): Promise<void> {
    if (this.size !== 1) throw invalid("the tensor", "a scalar for backward()", this.shape);
    await addon().backward(this.live(), inputs === undefined ? null : inputs.map((t) => t.live()));
  }

  /** The gradient that awaited `backward()` calls added up, as an alias; null when there is none. Waits for nothing. */
  get grad(): Tensor | null {
    const gradient = addon().grad(this.live());
    return gradient === null ? null : new Tensor(gradient);
  }

  /** Drops the gradient. */
  async zeroGrad(): Promise<void> {
    await addon().zeroGrad([this.live()]);
  }

  /** Drops this handle; memory goes with the last handle on it and the last queued work that needs it. Idempotent. */
  dispose(): void {
    this.native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private live(): NativeTensor {
    if (this.native.disposed)
      throw new KpopError("DISPOSED", "The tensor was disposed; keep it out of the scope that freed it");
    return this.native;
  }
}

/** Asks for the gradients of many leaves, or no longer, in one call. */
export async function requireGradients(tensors: readonly Tensor[], on: boolean): Promise<void> {
  await addon().requireGrad(
    tensors.map((tensor) => tensor.native),
    on,
  );
}

function run(
  name: string,
  inputs: readonly Tensor[],
  integers: readonly number[] = [],
  scalars: readonly number[] = [],
): Tensor {
  const natives = inputs.map((input, index) => {
    checkTensor(`input ${index} of ${name}`, input);
    if (input.native.disposed) throw new KpopError("DISPOSED", `Input ${index} of ${name} was disposed`);
    return input.native;
  });
  try {
    return new Tensor(addon().op(name, natives, [...integers], [...scalars], gradEnabled()));
  } catch (error) {
    if (!(error instanceof KpopError) || error.code !== "NATIVE_FAILURE") throw error;
    const given = inputs.map(({ shape, dtype }) => `${dtype} [${shape.join(", ")}]`).join(" and ");
    throw new KpopError(error.code, `${error.message} (given ${given})`, { cause: error, operation: name });
  }
}

/** Of indices; longer data is no list of them. */
function rangeOf(array: TypedArray): readonly [number, number] | undefined {
  if (array.length === 0 || array.length > 2 ** 16) return undefined;
  const numbers = Array.from(array as Iterable<number | bigint>, Number);
  const range = [Math.min(...numbers), Math.max(...numbers)] as const;
  return range.every(Number.isFinite) ? range : undefined;
}

function wantsGrad({ requiresGrad = false }: TensorOptions, dtype: Dtype): boolean {
  if (flag("requiresGrad", requiresGrad) && !/float/.test(dtype))
    throw invalid("dtype", "a floating-point type, as gradients need,", dtype);
  return requiresGrad;
}

function reduction(dims: number | readonly number[], keepDim: boolean): number[] {
  return [keepDim ? 1 : 0, ...(typeof dims === "number" ? [dims] : dims)];
}

function elementCount(name: string, shape: readonly number[]): number {
  if (!Array.isArray(shape)) throw invalid(name, "an array of integers", shape);
  return shape.reduce<number>((count, length, index) => count * integer(`${name}[${index}]`, length, 0), 1);
}

function dtypeOf(array: TypedArray): Dtype {
  if (array instanceof Float64Array) return "float64";
  if (array instanceof BigInt64Array) return "int64";
  if (array instanceof Int32Array) return "int32";
  return array instanceof Float32Array ? "float32" : "uint8";
}

/** @throws INVALID_ARGUMENT */
export function checkTensor(name: string, value: unknown): void {
  if (!(value instanceof Tensor)) throw invalid(name, "a Tensor", value);
}

/** Another tensor, given in their place, says its dtype and device. */
function checkOptions(options: TensorOptions): void {
  if (!(options instanceof Tensor))
    knownKeys("the tensor options", options, ["dtype", "device", "requiresGrad"]);
}

function numbersToArray(data: readonly number[], dtype: Dtype | undefined): TypedArray {
  const fits = dtype === "int64" ? Number.isSafeInteger : (element: unknown) => typeof element === "number";
  const wrong = data.findIndex((element) => !fits(element));
  if (wrong >= 0) throw invalid(`data[${wrong}]`, dtype === "int64" ? "an integer" : "a number", data[wrong]);
  return dtype === "int64"
    ? BigInt64Array.from(data, (n) => BigInt(n))
    : dtype === "float64"
      ? Float64Array.from(data)
      : Float32Array.from(data);
}

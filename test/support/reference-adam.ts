import { Tensor } from "../../lib/runtime/tensor";

export interface ReferenceAdamOptions {
  /** AdamW's: the weights shrink by rate × this before the update (arXiv 1711.05101, algorithm 2). */
  weightDecay?: number;
  /** The gradients are scaled down so that their norm as one vector is at most this. */
  maxGradientNorm?: number;
  /** The elements of the first weight that are trained; the others are left alone, as if they were no weights. */
  only?: readonly number[];
}

/** Below this share of the largest gradient, an element's is of the size of what float32 leaves of an error in it. */
const KNOWN = 1e-5;

/** Adam with its default constants (arXiv 1412.6980, algorithm 1), element by element, on plain numbers. */
export class ReferenceAdam {
  private readonly first: Float64Array[];
  private readonly second: Float64Array[];
  private readonly known: Uint8Array[];
  private steps = 0;

  constructor(
    private readonly weights: readonly Tensor[],
    private readonly options: ReferenceAdamOptions = {},
  ) {
    this.first = weights.map(({ size }) => new Float64Array(size));
    this.second = weights.map(({ size }) => new Float64Array(size));
    this.known = weights.map(({ size }) => new Uint8Array(size).fill(1));
  }

  async step(rate: number): Promise<void> {
    const { weightDecay = 0, maxGradientNorm = Infinity } = this.options;
    this.steps += 1;
    const [unbias1, unbias2] = [1 - 0.9 ** this.steps, 1 - 0.999 ** this.steps];
    const gradients: (Float64Array | null)[] = [];
    let [squares, largest] = [0, 0];
    for (const [index, weight] of this.weights.entries()) {
      const gradient = weight.grad === null ? null : Float64Array.from(await weight.grad.data(), Number);
      gradients.push(gradient);
      if (gradient === null) continue;
      for (const i of this.elements(index)) {
        squares += gradient[i]! ** 2;
        largest = Math.max(largest, Math.abs(gradient[i]!));
      }
    }
    const factor = Math.min(1, maxGradientNorm / (Math.sqrt(squares) + 1e-6));
    for (const [index, weight] of this.weights.entries()) {
      const gradient = gradients[index];
      if (gradient === null || gradient === undefined) continue;
      const values = Float64Array.from(await weight.detach().data(), Number);
      const [m, v] = [this.first[index]!, this.second[index]!];
      for (const i of this.elements(index)) {
        const g = gradient[i]! * factor;
        // Zero to the bit is no error, but a weight that is not used.
        if (g !== 0 && Math.abs(gradient[i]!) < KNOWN * largest) this.known[index]![i] = 0;
        m[i] = 0.9 * m[i]! + 0.1 * g;
        v[i] = 0.999 * v[i]! + 0.001 * g * g;
        const decayed = values[i]! * (1 - rate * weightDecay);
        values[i] = decayed - (rate * (m[i] / unbias1)) / (Math.sqrt(v[i] / unbias2) + 1e-8);
      }
      await weight.zeroGrad();
      await weight.copyFrom(Tensor.from(Float32Array.from(values), weight.shape));
    }
  }

  /**
   * 1 for each element, of the first weight first, whose update is well conditioned: Adam divides a gradient by its own
   * size, so one that is all error of float32, or of the size of Adam's ε, moves its element anyhow.
   */
  get conditioned(): Uint8Array {
    return Uint8Array.from(this.known.flatMap((each) => [...each]));
  }

  private elements(weight: number): Iterable<number> {
    return weight === 0 && this.options.only !== undefined ? this.options.only : this.first[weight]!.keys();
  }
}

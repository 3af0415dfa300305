import type { Linear } from "../../lib/diffusion/linear";

/** Float64 numbers with a tensor's linear operations, so that samplers are tested without the addon. */
export class Vector implements Linear<Vector> {
  constructor(readonly values: readonly number[]) {}

  mul(factor: number): Vector {
    return new Vector(this.values.map((value) => value * factor));
  }

  add(other: Vector): Vector {
    return new Vector(this.values.map((value, i) => value + other.values[i]!));
  }
}

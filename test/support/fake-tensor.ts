import type { TensorData } from "../../lib/io/checkpoint-types";

/** Stands for a tensor where only its bytes matter. `conversions` holds what `to` gives, by dtype. */
export class FakeTensor implements TensorData {
  disposed = false;

  constructor(
    readonly shape: readonly number[],
    readonly dtype: TensorData["dtype"],
    private readonly content: Uint8Array,
    private readonly conversions: Readonly<Record<string, FakeTensor>> = {},
  ) {}

  to(dtype: TensorData["dtype"]): FakeTensor {
    const converted = this.conversions[dtype];
    if (converted === undefined) throw new Error(`no conversion to ${dtype} was expected`);
    return converted;
  }

  bytes(): Promise<Uint8Array> {
    return Promise.resolve(this.content);
  }

  dispose(): void {
    this.disposed = true;
  }
}

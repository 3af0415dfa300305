import { KpopError } from "../../errors";
import { invalid } from "../../check";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { LatentBatch, LatentSource } from "./latent-source";

/** One z_t of a source of the caller's own. */
export interface CustomLatents {
  /** (4, h, w) or (1, 4, h, w). */
  latents: Tensor;
  timestep: number;
}

/** Takes z_t and t from the caller, one for each item; the text is drawn at random. */
export class CustomSource implements LatentSource {
  private readonly iterator: AsyncIterator<CustomLatents>;
  private taken = 0;
  private skip = 0;

  constructor(
    private readonly context: ErasureContext,
    source: AsyncIterable<CustomLatents>,
    private readonly batchSize: number,
    private readonly textCount: number,
  ) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  async next(iteration: number): Promise<LatentBatch> {
    for (; this.skip > 0; this.skip--) await this.take();
    const items: CustomLatents[] = [];
    while (items.length < this.batchSize) items.push(await this.take());
    const { random, base } = this.context;
    return {
      latents: Tensor.cat(
        items.map(({ latents }) => batched(latents).to({ dtype: "float32", device: base.device })),
      ),
      timesteps: items.map(({ timestep }) => timestep),
      texts: items.map((_, item) => random.at("custom", iteration, item).below(this.textCount)),
    };
  }

  async advance(): Promise<void> {}

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }

  numbers(): unknown {
    return this.taken;
  }

  restore(numbers: unknown): void {
    this.taken = numbers as number;
    this.skip = this.taken;
    this.taken = 0;
  }

  private async take(): Promise<CustomLatents> {
    const { value, done } = (await this.iterator.next()) as IteratorResult<CustomLatents, undefined>;
    if (done || value === undefined) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `The custom latents ended after ${this.taken} items; give as many as iterations × batchSize`,
      );
    }
    this.taken += 1;
    if (!(value.latents instanceof Tensor))
      throw invalid("latents of the custom source", "a Tensor", value.latents);
    if (typeof value.timestep !== "number")
      throw invalid("timestep of the custom source", "a number", value.timestep);
    return value;
  }
}

function batched(latents: Tensor): Tensor {
  const { shape } = latents;
  if (shape.length === 3) return latents.unsqueeze(0);
  if (shape.length === 4 && shape[0] === 1) return latents;
  throw invalid("latents of the custom source", "of shape (4, h, w) or (1, 4, h, w)", shape);
}

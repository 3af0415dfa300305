import { KpopError } from "../../errors";
import { finite, invalid } from "../../check";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { LatentBatch, LatentSource } from "./latent-source";

/** One z_t of a source of the caller's own. */
export interface CustomLatents {
  /** (4, h, w) or (1, 4, h, w). */
  latents: Tensor;
  /** From 0 up to the schedule's length, exclusive. */
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
      latents: Tensor.cat(items.map(({ latents }) => latents.to({ dtype: "float32", device: base.device }))),
      timesteps: items.map(({ timestep }) => timestep),
      texts: items.map((_, item) => random.at("custom", iteration, item).below(this.textCount)),
    };
  }

  async advance(): Promise<void> {}

  /** Tells the caller's iterator that no more items are wanted. */
  async close(): Promise<void> {
    await this.iterator.return?.();
  }

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
    const { value, done } = (await this.iterator.next()) as IteratorResult<unknown, undefined>;
    if (done) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `The custom latents ended after ${this.taken} items; give as many as iterations × batchSize`,
      );
    }
    this.taken += 1;
    return this.checked(value);
  }

  private checked(item: unknown): CustomLatents {
    if (typeof item !== "object" || item === null)
      throw invalid("an item of the custom source", "an object with latents and timestep", item);
    const { latents, timestep } = item as Record<keyof CustomLatents, unknown>;
    if (!(latents instanceof Tensor)) throw invalid("latents of the custom source", "a Tensor", latents);
    const { unet, schedule } = this.context.base;
    return {
      latents: batched(latents, unet.config.in_channels),
      timestep: finite("timestep of the custom source", timestep, 0, schedule.length - 1),
    };
  }
}

function batched(latents: Tensor, channels: number): Tensor {
  const [c, h, w] = latents.shape.slice(-3);
  const rank = latents.shape.length;
  if (c !== channels || (rank !== 3 && !(rank === 4 && latents.shape[0] === 1))) {
    const expected = `of shape (${channels}, h, w) or (1, ${channels}, h, w)`;
    throw invalid("latents of the custom source", expected, latents.shape);
  }
  return latents.reshape([1, c, h!, w!]);
}

import { createHash } from "node:crypto";
import { KpopError } from "../../errors";
import { finite, invalid } from "../../check";
import { Tensor } from "../../runtime/tensor";
import type { ErasureRun } from "../parts";
import type { LatentBatch, LatentSource } from "./latent-source";

/** One z_t of a source of the caller's own. */
export interface CustomLatents {
  /** (4, h, w) or (1, 4, h, w). */
  latents: Tensor;
  /** What their trajectory began with, of the same shape; RACE needs it. */
  noise?: Tensor;
  /** From 0 up to the schedule's length, exclusive. */
  timestep: number;
}

/** What a saved state tells of the items taken so far: their number and a hash of them all. */
interface Taken {
  count: number;
  hash: string;
}

/** Takes z_t and t from the caller, one for each item; the text is drawn at random. */
export class CustomSource implements LatentSource {
  private readonly iterator: AsyncIterator<CustomLatents>;
  private taken: Taken = { count: 0, hash: "" };
  /** What a resumed run has to take again. */
  private behind: Taken | null = null;

  constructor(
    private readonly job: ErasureRun,
    source: AsyncIterable<CustomLatents>,
    private readonly batchSize: number,
    private readonly textCount: number,
  ) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  async next(iteration: number): Promise<LatentBatch> {
    await this.catchUp();
    const items: CustomLatents[] = [];
    const whole = this.taken;
    try {
      while (items.length < this.batchSize) items.push(await this.take());
    } catch (error) {
      // A state saved now is that of whole iterations.
      this.taken = whole;
      throw error;
    }
    const { random, base } = this.job;
    const together = (tensors: Tensor[]): Tensor =>
      Tensor.cat(tensors.map((tensor) => tensor.to({ dtype: "float32", device: base.device })));
    const noises = items.flatMap(({ noise }) => noise ?? []);
    return {
      latents: together(items.map(({ latents }) => latents)),
      ...(noises.length === items.length ? { noise: together(noises) } : {}),
      timesteps: items.map(({ timestep }) => timestep),
      texts: items.map((_, item) => random.at("custom", iteration, item).below(this.textCount)),
      trajectories: items.map((_, item) => iteration * this.batchSize + item),
    };
  }

  async advance(): Promise<void> {}

  /** Tells the caller's iterator that no more items are wanted. */
  async close(): Promise<void> {
    await this.iterator.return?.();
  }

  numbers(): unknown {
    return this.taken;
  }

  restore(numbers: unknown): void {
    this.behind = numbers as Taken;
  }

  /** @throws INVALID_ARGUMENT where the items are others than those of the saved run */
  private async catchUp(): Promise<void> {
    const { behind } = this;
    if (behind === null) return;
    this.behind = null;
    while (this.taken.count < behind.count) await this.take();
    if (this.taken.hash !== behind.hash)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the ${behind.count} custom latents that the saved run has taken but the source gives others; resume with the same source, or start anew`,
      );
  }

  private async take(): Promise<CustomLatents> {
    const { value, done } = (await this.iterator.next()) as IteratorResult<unknown, undefined>;
    const { count, hash } = this.taken;
    if (done) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `The custom latents ended after ${count} items; give as many as iterations × batchSize`,
      );
    }
    const item = this.checked(value);
    this.taken = { count: count + 1, hash: this.job.keepsState ? await chained(hash, item) : "" };
    return item;
  }

  private checked(item: unknown): CustomLatents {
    if (typeof item !== "object" || item === null)
      throw invalid("an item of the custom source", "an object with latents and timestep", item);
    const { latents, noise, timestep } = item as Record<keyof CustomLatents, unknown>;
    const { unet, schedule } = this.job.base;
    const channels = unet.config.in_channels;
    return {
      latents: batched("latents", latents, channels),
      ...(noise === undefined ? {} : { noise: batched("noise", noise, channels) }),
      timestep: finite("timestep of the custom source", timestep, 0, schedule.length - 1),
    };
  }
}

async function chained(before: string, { latents, noise, timestep }: CustomLatents): Promise<string> {
  const hash = createHash("sha256").update(`${before} ${timestep} ${latents.dtype} ${latents.shape.join()}`);
  hash.update(await latents.bytes());
  if (noise !== undefined) hash.update(`${noise.dtype} ${noise.shape.join()}`).update(await noise.bytes());
  return hash.digest("hex");
}

function batched(name: string, latents: unknown, channels: number): Tensor {
  if (!(latents instanceof Tensor)) throw invalid(`${name} of the custom source`, "a Tensor", latents);
  const [c, h, w] = latents.shape.slice(-3);
  const rank = latents.shape.length;
  if (c !== channels || (rank !== 3 && !(rank === 4 && latents.shape[0] === 1))) {
    const expected = `of shape (${channels}, h, w) or (1, ${channels}, h, w)`;
    throw invalid(`${name} of the custom source`, expected, latents.shape);
  }
  return latents.reshape([1, c, h!, w!]);
}

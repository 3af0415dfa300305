import { Tensor } from "../../runtime/tensor";
import type { ErasureRun } from "../parts";
import type { KnownPredictions, LatentBatch, LatentSource } from "../shared/latent-source";
import type { CountingSampler } from "./counting-sampler";

/** A source that goes through iterations which are left out as through those that are rehearsed. */
export class RehearsedLatents implements LatentSource {
  /** Whether an iteration has taken of it since this was set to false. */
  used = false;
  /** What the last iteration knew. */
  private known: readonly (keyof KnownPredictions)[] = [];
  private size = 0;

  /** @param sampler of the source, which counts; none where it moves nothing */
  constructor(
    private readonly source: LatentSource,
    private readonly sampler?: CountingSampler,
  ) {}

  async next(iteration: number): Promise<LatentBatch> {
    const batch = await this.source.next(iteration);
    this.used = true;
    this.size = batch.texts.length;
    return batch;
  }

  async advance(iteration: number, known: KnownPredictions = {}): Promise<void> {
    this.known = (["conditional", "unconditional"] as const).filter((name) => known[name] !== undefined);
    await this.source.advance(iteration, known);
  }

  /** Goes on as an iteration like the last one would. */
  async skip(iteration: number): Promise<void> {
    await this.source.next(iteration);
    const stand = Tensor.zeros([this.size]);
    await this.source.advance(iteration, Object.fromEntries(this.known.map((name) => [name, stand])));
  }

  async prepare(): Promise<void> {
    await this.source.prepare?.();
    this.sampler?.filled();
  }
}

/** In the place of a source of the caller's own, which a rehearsal leaves alone: noise at any timestep. */
export class NoiseSource implements LatentSource {
  constructor(
    private readonly job: Pick<ErasureRun, "base" | "random">,
    private readonly batchSize: number,
    private readonly textCount: number,
  ) {}

  async next(iteration: number): Promise<LatentBatch> {
    const { base, random } = this.job;
    const side = base.imageSize / base.vae.downsampling;
    const draws = random.at("estimate", iteration);
    const shape = [this.batchSize, base.unet.config.in_channels, side, side];
    const latents = draws.at("noise").normal(shape, { device: base.device });
    const items = Array.from({ length: this.batchSize }, (_, item) => draws.at(item));
    return {
      latents,
      noise: latents,
      timesteps: items.map((draw) => draw.at("timestep").below(base.schedule.length)),
      texts: items.map((draw) => draw.at("text").below(this.textCount)),
      trajectories: items.map((_, item) => iteration * this.batchSize + item),
    };
  }

  async advance(): Promise<void> {}
}

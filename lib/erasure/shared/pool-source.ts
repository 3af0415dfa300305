import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { KnownPredictions, LatentBatch, LatentSource } from "./latent-source";
import type { TrajectorySampler } from "./trajectory-sampler";

interface Member {
  /** Index into the stops, in the order of their noise levels. */
  position: number;
  text: number;
  /** How often the trajectory has begun anew. */
  runs: number;
}

/** Steps that the first trajectories skip at a time on their way to where they start; they only fill the pool. */
const FILL_STRIDE = 5;

/**
 * Keeps N trajectories at spread-out timesteps. An iteration takes some at random, trains on them where they are, and
 * moves each one sampler step on; at its end a trajectory begins anew with other noise and another text. t has the
 * marginal distribution of the reference procedure, and z_t comes from weights at most a few updates old, for one guided
 * step an item in place of 25.
 */
export class PoolSource implements LatentSource {
  private readonly latents: Tensor[] = [];
  private members: Member[] = [];
  private readonly stops: TrajectorySampler["trajectory"]["stops"];
  private chosen: number[] = [];

  private constructor(
    private readonly context: ErasureContext,
    private readonly sampler: TrajectorySampler,
    private readonly batchSize: number,
    private readonly textCount: number,
    /** Whether z's noise level is that of t, so that the losses' predictions serve the sampler as well. */
    private readonly aligned: boolean,
  ) {
    this.stops = [...sampler.trajectory.stops].sort((a, b) => a.executed - b.executed);
  }

  /** A pool of `size` trajectories, the k-th somewhere in the k-th of as many equal parts of the schedule. */
  static async create(
    context: ErasureContext,
    sampler: TrajectorySampler,
    options: { size: number; batchSize: number; textCount: number; aligned: boolean },
  ): Promise<PoolSource> {
    const pool = new PoolSource(context, sampler, options.batchSize, options.textCount, options.aligned);
    for (let index = 0; index < options.size; index++) {
      const spread = (index + context.random.at("pool", "spread", index).uniform()) / options.size;
      await pool.begin(index, Math.floor(spread * pool.stops.length), FILL_STRIDE);
    }
    return pool;
  }

  async next(iteration: number): Promise<LatentBatch> {
    const { random } = this.context;
    const left = this.members.map((_, index) => index);
    this.chosen = Array.from({ length: this.batchSize }, (_, item) => {
      const at = random.at("pool", "choice", iteration, item).below(left.length);
      return left.splice(at, 1)[0]!;
    });
    return {
      latents: Tensor.cat(this.chosen.map((index) => this.latents[index]!)),
      timesteps: this.chosen.map((index, item) => {
        const { from, to } = this.stops[this.members[index]!.position]!.timestep;
        return from + random.at("pool", "timestep", iteration, item).below(to - from + 1);
      }),
      texts: this.chosen.map((index) => this.members[index]!.text),
    };
  }

  async advance(_iteration: number, predictions: KnownPredictions): Promise<void> {
    for (const [item, index] of this.chosen.entries()) {
      const member = this.members[index]!;
      if (member.position + 1 >= this.stops.length) {
        await this.begin(index, 0);
        continue;
      }
      await scope(async () => {
        const from = this.stops[member.position]!.executed;
        const to = this.stops[member.position + 1]!.executed;
        const known = this.aligned ? ofItem(predictions, item) : undefined;
        const moved = await this.sampler.move(this.latents[index]!, member.text, from, to, 1, known);
        await this.latents[index]!.copyFrom(moved);
      });
      member.position += 1;
    }
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(this.latents.map((tensor, index) => [`pool.${index}`, tensor]));
  }

  numbers(): unknown {
    return this.members;
  }

  restore(numbers: unknown): void {
    this.members = numbers as Member[];
  }

  private async begin(index: number, position: number, stride = 1): Promise<void> {
    const runs = (this.members[index]?.runs ?? -1) + 1;
    const text = this.context.random.at("pool", "text", index, runs).below(this.textCount);
    await scope(async () => {
      const noise = this.sampler.noise("pool", "noise", index, runs);
      const moved = await this.sampler.move(noise, text, 0, this.stops[position]!.executed, stride);
      const held = this.latents[index];
      if (held === undefined) this.latents[index] = keep(moved);
      else await held.copyFrom(moved);
    });
    this.members[index] = { position, text, runs };
  }
}

function ofItem({ conditional, unconditional }: KnownPredictions, item: number): KnownPredictions {
  const one = (tensor: Tensor): Tensor => tensor.slice(0, item, item + 1);
  if (unconditional === undefined) return { conditional: one(conditional) };
  return { conditional: one(conditional), unconditional: one(unconditional) };
}

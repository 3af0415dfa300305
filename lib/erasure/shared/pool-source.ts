import { setImmediate } from "node:timers/promises";
import { noGrad } from "../../runtime/grad-mode";
import { distinct } from "../../runtime/random";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureRun } from "../parts";
import type { KnownPredictions, LatentBatch, LatentSource } from "./latent-source";
import type { TrajectorySampler } from "./trajectory-sampler";

interface Member {
  /** Index into the stops, in the order of their noise levels. */
  position: number;
  text: number;
  /** How many began before it. */
  trajectory: number;
  /** How often the trajectory has begun anew. */
  runs: number;
}

/** Stops at which a trajectory is trained on, from noise to picture: so few that many trajectories end in a short run. */
const VISITS = 10;

/**
 * Keeps N trajectories at spread-out timesteps. An iteration takes some at random, trains on them where they are, and
 * moves each one on, a tenth of the schedule in one sampler step; at its end a trajectory begins anew with other noise
 * and the next text, all texts having their turn in a random order. Where in its first tenth a trajectory begins is
 * drawn, so t has the marginal distribution of the reference procedure; z_t comes from weights a few updates old, for
 * one guided step an item in place of 25.
 */
export class PoolSource implements LatentSource {
  private readonly latents: Tensor[] = [];
  private members: Member[] = [];
  /** Trajectories that have begun. */
  private begun = 0;
  private readonly stops: TrajectorySampler["trajectory"]["stops"];
  /** Stops that a trajectory goes on by. */
  private readonly stride: number;
  private chosen: number[] = [];

  /** @param options.aligned whether z's noise level is that of t, so that the losses' predictions serve the sampler too */
  constructor(
    private readonly job: ErasureRun,
    private readonly sampler: TrajectorySampler,
    private readonly options: {
      readonly size: number;
      readonly batchSize: number;
      readonly textCount: number;
      readonly aligned: boolean;
    },
  ) {
    this.stops = [...sampler.trajectory.stops].sort((a, b) => a.executed - b.executed);
    this.stride = Math.max(1, Math.round(this.stops.length / VISITS));
  }

  /** Fills the pool: the k-th trajectory stands somewhere in the k-th of as many equal parts of the schedule. */
  async prepare(): Promise<void> {
    const { size } = this.options;
    const started = performance.now();
    for (let index = 0; index < size; index++) {
      const spread = (index + this.job.random.at("pool", "spread", index).uniform()) / size;
      await noGrad(() => this.begin(index, Math.floor(spread * this.stops.length), this.job.signal));
      await this.job.prepared("trajectory", index + 1, size, started);
      // A trajectory that stands at its beginning waits for nothing: other work has its turn all the same.
      await setImmediate();
    }
  }

  async next(iteration: number): Promise<LatentBatch> {
    const { random } = this.job;
    const choice = random.at("pool", "choice", iteration);
    this.chosen = distinct(choice, this.options.batchSize, this.members.length);
    const begun = this.chosen.map((index) => [index, this.members[index]!.runs] as const);
    const noiseOf = this.noise.bind(this);
    return {
      latents: Tensor.cat(this.chosen.map((index) => this.latents[index]!)),
      // Drawn again where it is asked for.
      get noise() {
        return Tensor.cat(begun.map(([index, runs]) => noiseOf(index, runs)));
      },
      timesteps: this.chosen.map((index, item) => {
        const { from, to } = this.stops[this.members[index]!.position]!.timestep;
        return from + random.at("pool", "timestep", iteration, item).below(to - from + 1);
      }),
      levels: this.chosen.map((index) => this.stops[this.members[index]!.position]!.level),
      texts: this.chosen.map((index) => this.members[index]!.text),
      trajectories: this.chosen.map((index) => this.members[index]!.trajectory),
    };
  }

  async advance(_iteration: number, predictions: KnownPredictions = {}): Promise<void> {
    await noGrad(() => this.moveOn(predictions));
  }

  private async moveOn(predictions: KnownPredictions): Promise<void> {
    for (const [item, index] of this.chosen.entries()) {
      const member = this.members[index]!;
      const position = member.position + this.stride;
      if (position >= this.stops.length) {
        const phase = this.job.random.at("pool", "phase", index, member.runs).below(this.stride);
        await this.begin(index, phase);
        continue;
      }
      await scope(async () => {
        const from = this.stops[member.position]!.executed;
        const to = this.stops[position]!.executed;
        const known = this.options.aligned ? ofItem(predictions, item) : undefined;
        const { text, trajectory } = member;
        const moved = await this.sampler.move(this.latents[index]!, text, from, to, this.stride, {
          known,
          trajectory,
        });
        await this.latents[index]!.copyFrom(moved);
      });
      member.position = position;
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
    this.begun = this.members.reduce((sum, { runs }) => sum + runs + 1, 0);
    for (let index = 0; index < this.members.length; index++)
      this.latents[index] ??= this.job.hold(this.sampler.zeros());
  }

  private async begin(index: number, position: number, signal?: AbortSignal): Promise<void> {
    const trajectory = this.begun++;
    const runs = (this.members[index]?.runs ?? -1) + 1;
    const text = this.textOf(trajectory);
    await scope(async () => {
      const noise = this.noise(index, runs);
      const { executed } = this.stops[position]!;
      const moved = await this.sampler.move(noise, text, 0, executed, this.stride, { signal, trajectory });
      const held = this.latents[index];
      if (held === undefined) this.latents[index] = this.job.hold(moved);
      else await held.copyFrom(moved);
    });
    this.members[index] = { position, text, trajectory, runs };
  }

  /** What a trajectory begins with. */
  private noise(index: number, runs: number): Tensor {
    return this.sampler.noise("pool", "noise", index, runs);
  }

  /** The text of the n-th trajectory: of each textCount in a row, every one has another. */
  private textOf(n: number): number {
    const { textCount } = this.options;
    const round = this.job.random.at("pool", "texts", Math.floor(n / textCount));
    return distinct(round, textCount, textCount)[n % textCount]!;
  }
}

function ofItem({ conditional, unconditional }: KnownPredictions, item: number): KnownPredictions {
  const one = (tensor: Tensor): Tensor => tensor.detach().slice(0, item, item + 1);
  return {
    ...(conditional === undefined ? {} : { conditional: one(conditional) }),
    ...(unconditional === undefined ? {} : { unconditional: one(unconditional) }),
  };
}

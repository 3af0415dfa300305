import { clipGradients } from "../nn/clip-gradients";
import { Adam, type AdamOptions } from "../nn/optimizer";
import { parseSchedule, type Schedule, type ScheduleFunction } from "../nn/schedules";
import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { requireGradients, Tensor } from "../runtime/tensor";
import type { StatePart } from "./run-state";

/** Scalar losses by name, still to be read; null where one was not computed. */
export type Losses = Readonly<Record<string, Tensor | number | null>>;

/** Adds the gradient of weight · loss to the player's tensors and frees the graph. @returns the loss, unweighted */
export type Backward = (loss: Tensor, weight?: number) => Promise<Tensor>;

/** A linear map that updates of some of the tensors go through: ΔW → ΔW M. */
export interface UpdateFilter {
  /** M, (d, d), for tensors of shape (n, d), in their dtype. */
  readonly matrix: Tensor;
  applies(name: string): boolean;
}

/** Adam's constants, its rate, and what comes before and after its step. */
export interface PlayerOptions extends AdamOptions {
  readonly learningRate: Schedule;
  /** Of the run, for rates that change over it. */
  readonly iterations: number;
  /** Power of two that losses are multiplied by on their way back, and the gradients divided by. Default 1. */
  readonly lossScale?: number;
  /** Norm that the gradients of all tensors together are scaled down to. Default: they stay as they are. */
  readonly maxGradientNorm?: number;
  /** What Adam's steps go through. Default: nothing. */
  readonly filter?: UpdateFilter | null;
  /** What follows from the tensors, done when they have moved or were restored. Default nothing. */
  readonly settled?: () => Promise<void>;
}

/** One side of a training: tensors, and the optimizer that moves them. They ask for gradients within `update` alone. */
export class Player implements StatePart {
  private constructor(
    private readonly learned: ReadonlyMap<string, Tensor>,
    private readonly optimizer: Adam,
    private readonly learningRate: ScheduleFunction,
    private readonly options: PlayerOptions,
    private readonly touched: () => void,
  ) {}

  /**
   * @param learned leaves of a floating dtype, on one device; they are moved in place
   * @param touched told when an update begins, from when on until its end the state is not whole
   */
  static async create(
    learned: ReadonlyMap<string, Tensor>,
    options: PlayerOptions,
    touched: () => void = () => undefined,
  ): Promise<Player> {
    const { betas, eps, weightDecay, decoupled, learningRate } = options;
    const given = { betas, eps, weightDecay, decoupled };
    const adam = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const optimizer = await Adam.create([...learned.values()], adam);
    return new Player(learned, optimizer, parseSchedule("learningRate", learningRate), options, touched);
  }

  /**
   * One step of Adam with the gradients that `body` adds up through the `backward` it is given.
   * @returns what `body` returns
   */
  async update<T>(iteration: number, body: (backward: Backward) => Promise<T>): Promise<T> {
    const tensors = [...this.learned.values()];
    this.touched();
    await requireGradients(tensors, true);
    const { iterations, maxGradientNorm, lossScale = 1 } = this.options;
    const result = await body(async (loss, weight = 1) => {
      const scale = weight * lossScale;
      await (scale === 1 ? loss : loss.mul(scale)).backward();
      return loss.detach();
    });
    if (lossScale !== 1) await scaleGradients(tensors, 1 / lossScale);
    if (maxGradientNorm !== undefined) await clipGradients(tensors, maxGradientNorm);
    const unfiltered = this.beforeFilter();
    await this.optimizer.step(this.learningRate(iteration % iterations, iterations));
    await requireGradients(tensors, false);
    await this.filterStep(unfiltered);
    await this.restored();
    return result;
  }

  /** What the tensors hold whose steps are filtered. */
  private beforeFilter(): [now: Tensor, before: Tensor][] {
    const { filter } = this.options;
    if (filter === undefined || filter === null) return [];
    const filtered = [...this.learned].filter(([name]) => filter.applies(name));
    return filtered.map(([, tensor]) => [tensor, tensor.detach().clone()]);
  }

  private async filterStep(filtered: readonly [now: Tensor, before: Tensor][]): Promise<void> {
    for (const [tensor, before] of filtered) {
      await noGrad(() =>
        scope(async () => {
          const step = tensor.detach().sub(before);
          await tensor.copyFrom(before.add(step.matmul(this.options.filter!.matrix)));
        }),
      );
      before.dispose();
    }
  }

  /** Forgets the moments, as a new optimizer would. */
  async restart(): Promise<void> {
    for (const moment of this.optimizer.state().values())
      await scope(() => moment.copyFrom(Tensor.zeros(moment.shape, moment)));
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([
      ...this.learned,
      ...[...this.optimizer.state()].map(([name, tensor]) => [`adam.${name}`, tensor] as const),
    ]);
  }

  async restored(): Promise<void> {
    await this.options.settled?.();
  }

  /** Frees the optimizer; the tensors stay. */
  dispose(): void {
    this.optimizer.dispose();
  }
}

/** Multiplies what tensors have gathered; those without a gradient stay without one. */
async function scaleGradients(tensors: readonly Tensor[], factor: number): Promise<void> {
  await scope(async () => {
    for (const { grad } of tensors) await grad?.copyFrom(grad.mul(factor));
  });
}

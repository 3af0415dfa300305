import { AsyncLocalStorage } from "node:async_hooks";

const counting = new AsyncLocalStorage<EvaluationCounter>();

/**
 * Counts UNet evaluations: one for each item of a batch, forward passes only. What runs in it counts here, and in the
 * counter that it was made in.
 */
export class EvaluationCounter {
  private readonly around = counting.getStore();
  private count = 0;

  get total(): number {
    return this.count;
  }

  /** Runs `fn`, across awaits; every prediction in it counts. */
  run<T>(fn: () => T): T {
    return counting.run(this, fn);
  }

  add(count: number): void {
    this.count += count;
    this.around?.add(count);
  }

  /** Goes on from what a saved run had spent. */
  resume(total: number): void {
    this.add(total - this.count);
  }
}

/** Tells the counter that is at work, if any, of so many evaluations. */
export function countEvaluations(count: number): void {
  counting.getStore()?.add(count);
}

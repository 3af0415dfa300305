/** Counts UNet evaluations: one for each item of a batch, forward passes only. */
export class EvaluationCounter {
  total = 0;

  add(count: number): void {
    this.total += count;
  }
}

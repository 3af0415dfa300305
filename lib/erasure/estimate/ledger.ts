import type { EvaluationCounter } from "../../training/evaluations";

/** What something takes. */
export interface Spending {
  readonly seconds: number;
  /** Of the UNet, one for each item of a batch. */
  readonly evaluations: number;
}

/** A part of a run that is done many times. */
export interface RunPart {
  /** What one of them is, in the singular: "iteration", "trajectory step", "picture", "layer". */
  what: string;
  count: number;
  /** UNet evaluations of all of them, one for each item of a batch. */
  evaluations: number;
  /** Of all of them. */
  seconds: number;
}

/** Time and evaluations of a rehearsal: what was done is taken out where it stands for more, and that is noted. */
export class Ledger {
  private readonly noted = new Map<string, RunPart>();
  private readonly started = performance.now();
  private readonly sampled = { seconds: 0, evaluations: 0 };

  constructor(private readonly counter: EvaluationCounter) {}

  /** Does what stands for something else. */
  async sample(body: () => Promise<unknown>): Promise<Spending> {
    const before = this.counter.total;
    const started = performance.now();
    await body();
    const spent = {
      seconds: (performance.now() - started) / 1000,
      evaluations: this.counter.total - before,
    };
    this.sampled.seconds += spent.seconds;
    this.sampled.evaluations += spent.evaluations;
    return spent;
  }

  /** Notes what all of something takes. */
  note(what: string, count: number, { seconds, evaluations }: Spending): void {
    const part = this.noted.get(what) ?? { what, count: 0, evaluations: 0, seconds: 0 };
    part.count += count;
    part.evaluations += evaluations;
    part.seconds += seconds;
    this.noted.set(what, part);
  }

  get parts(): RunPart[] {
    return [...this.noted.values()];
  }

  /** What the whole takes: the parts, and what was done once, as the run would do it. */
  total(): Spending {
    const whole = {
      seconds: (performance.now() - this.started) / 1000 - this.sampled.seconds,
      evaluations: this.counter.total - this.sampled.evaluations,
    };
    for (const { seconds, evaluations } of this.noted.values()) {
      whole.seconds += seconds;
      whole.evaluations += evaluations;
    }
    return whole;
  }
}

/** @returns the middle one, or the mean of both */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

import { judgeOf } from "./judge";
import type { Measurement, Metric, MetricJob, OpenMetric } from "./metric";

type Begun = Map<string, Measurement<unknown, unknown>>;

/** The metrics that were asked for, open. */
export class Metrics {
  private readonly begun: Begun[] = [];

  private constructor(
    private readonly opened: ReadonlyMap<string, OpenMetric<unknown, unknown>>,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Opens each metric that has a value among the options.
   * @throws what opening one throws; those opened before are disposed of
   */
  static async open(
    metrics: readonly Metric[],
    options: Readonly<Record<string, unknown>>,
    job: MetricJob,
  ): Promise<Metrics> {
    const opened = new Map<string, OpenMetric<unknown, unknown>>();
    const result = new Metrics(opened, job.signal);
    try {
      for (const metric of metrics) {
        const own = options[metric.name];
        if (own !== undefined) opened.set(metric.name, await metric.open(own as never, job));
      }
      return result;
    } catch (error) {
      result.dispose();
      throw error;
    }
  }

  /** Measurements of the next model's pictures, by name. The first model's stay to be compared with. */
  begin(): ReadonlyMap<string, Measurement<unknown, unknown>> {
    const first = this.begun[0];
    const next: Begun = new Map(
      [...this.opened].map(([name, metric]) => [name, metric.measure(first?.get(name) ?? null)]),
    );
    this.begun.push(next);
    return next;
  }

  /** What the measurements that were begun last say, each with what judged; null where none says anything. */
  async results(): Promise<Record<string, unknown> | null> {
    const found: Record<string, unknown> = {};
    for (const [name, measurement] of this.begun.at(-1) ?? []) {
      const result = await measurement.result();
      if (result === null) continue;
      found[name] = { ...(result as object), judge: await judgeOf(this.opened.get(name)!, this.signal) };
    }
    return Object.keys(found).length === 0 ? null : found;
  }

  /** Frees the networks and what was kept of pictures. */
  dispose(): void {
    for (const measurement of this.begun.flatMap((begun) => [...begun.values()])) measurement.dispose();
    for (const metric of this.opened.values()) metric.dispose();
  }
}

import type { Complete, Given, Option } from "../options/option";
import type { Judge } from "./judge";
import { cmmd } from "./metrics/cmmd";
import { fid } from "./metrics/fid";
import { lpips } from "./metrics/lpips";
import { nudity } from "./metrics/nudity";
import { metricGroup, type Metric, type OpenMetric } from "./metric";

/** All metrics: the one list, which options, command line and results follow. */
export const METRICS = [nudity, fid, cmmd, lpips] as const;

type Metrics = Extract<(typeof METRICS)[number], { name: string; options: object; open: unknown }>;
type Opened<M extends { open: unknown }> = M["open"] extends (
  ...given: never[]
) => Promise<OpenMetric<infer R, infer P>>
  ? { result: R; note: P }
  : never;

/** What metrics say of all pictures, by name, each with what judged. @interface */
export type MetricResults = { [M in Metrics as M["name"]]?: Opened<M>["result"] & { judge: Judge } };
/** What metrics note of one picture, by name. @interface */
export type MetricNotes = { [M in Metrics as M["name"]]?: Opened<M>["note"] };

/** Their options, a group for each. A metric is measured where its group is given. */
export const METRIC_OPTIONS = Object.freeze(
  Object.fromEntries(allMetrics().map((metric) => [metric.name, metricGroup(metric)])),
) as {
  readonly [M in Metrics as M["name"]]: Option<Complete<M["options"]> | undefined, Given<M["options"]>>;
};

/** All of them, without their own types. */
export function allMetrics(): readonly Metric[] {
  return METRICS as readonly unknown[] as readonly Metric[];
}

import { defaultsOf, methodOf, type Options } from "../entrants";
import { merge } from "../method-options";
import { ABLATION_SPLIT } from "../protocols/protocol";
import type { TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext } from "./case";
import { classesOf, objects } from "./objects";

/**
 * Tables 5 and 6 and Figure 5, the pool of trajectories, preserving by name, and neighbours: one option changed at a
 * time.
 */
export const ablations: Case = { trials, measure: objects.measure };

interface Change {
  axis: string;
  value: string | number;
  options: Options;
  /** Whether the other five classes are preserved by name. */
  preserve?: boolean;
}

const CHANGES: readonly Change[] = [
  ...["additive", "concat"].map((mechanism) => ({ axis: "mechanism", value: mechanism, options: { prompt: { mechanism } } })),
  ...[1, 10, 100, 200].map((size) => ({ axis: "k", value: size, options: { prompt: { size } } })),
  ...["mid", "mid-up", "all"].map((layers) => ({ axis: "layers", value: layers, options: { prompt: { layers } } })),
  ...[0.01, 0.1, 1, 10].map((lambda) => ({ axis: "lambda", value: lambda, options: { lambda } })),
  ...["pool", "restart"].map((latents) => ({ axis: "latents", value: latents, options: { latents } })),
  ...["off", "nearest", "adversarial"].map((neighbours) => ({ axis: "neighbours", value: neighbours, options: { neighbours } })),
  { axis: "preserve", value: "nothing", options: {}, preserve: false },
  { axis: "preserve", value: "the other five", options: {}, preserve: true },
]; // prettier-ignore

/** Enough for a curve and a table to appear in a quick run. */
const QUICK = ["lambda 1", "layers mid"];

/** The unchanged setting stands once for every value that it already has. */
function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  const method = settings.methods.find((row) => methodOf(row) === "kpop");
  if (method === undefined) return [];
  const base = optionsOf(method);
  const unchanged = (change: Change): boolean =>
    change.preserve !== true && complete(merge(base, change.options)) === complete(base);
  const classes = classesOf(protocol, ABLATION_SPLIT);
  const spec = (name: string, options: Options, changes: readonly Change[]): TrialSpec => trialSpec({
    name: `ablation-${name}`,
    experiment: "ablations",
    method,
    label: name,
    options,
    ...classes,
    preserve: changes.some(({ preserve }) => preserve === true)
      ? classes.preserved.map((preserved) => protocol.prompt.replace("{}", preserved))
      : [],
    split: ABLATION_SPLIT,
    axes: changes.map(({ axis, value }) => ({ name: axis, value })),
    imagesPerClass: Math.ceil(settings.imagesPerClass / 2),
  }); // prettier-ignore
  const changed = CHANGES.filter((change) => !unchanged(change)).filter(
    ({ axis, value }) => !settings.quick || QUICK.includes(`${axis} ${value}`),
  );
  return [
    spec("unchanged", base, CHANGES.filter(unchanged)),
    ...changed.map((change) =>
      spec(`${change.axis}-${String(change.value).replaceAll(" ", "-")}`, merge(base, change.options), [change]),
    ),
  ]; // prettier-ignore
}

/** Options over the method's defaults, to be compared. */
function complete(options: Options): string {
  return JSON.stringify(merge(defaultsOf("kpop"), options));
}

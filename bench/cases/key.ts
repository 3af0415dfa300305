import { methodOf, type Options } from "../entrants";
import { merge } from "../method-options";
import { ABLATION_SPLIT } from "../protocols/protocol";
import type { TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext } from "./case";
import { classesOf, objects } from "./objects";

/**
 * What KPOP's key opens, and what it leaves alone: the free key and the amortised one, of one concept. Of several concepts
 * the objects' trials tell, but for the free key beside neighbours, which has no row there.
 */
export const key: Case = { trials, measure: objects.measure };

function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  const { concept } = protocol.tracking;
  const one = { erased: [concept], preserved: protocol.classes.filter((name) => name !== concept) };
  const rows = settings.methods.filter((row) => methodOf(row) === "kpop");
  const spec = (row: string, name: string, options: Options, classes: typeof one, split: string): TrialSpec =>
    trialSpec({
      name: `key-${name}-${split}`,
      experiment: "key",
      method: row,
      label: name,
      options,
      ...classes,
      split,
      imagesPerClass: settings.imagesPerClass,
    });
  const all = rows.flatMap((row) => {
    const own = optionsOf(row);
    const single = spec(row, row, own, one, "one");
    if (row !== "kpop") return [single];
    const beside = merge(own, { neighbours: "nearest" });
    const kept = (classes: typeof one, split: string): TrialSpec =>
      spec(row, "kpop-beside-neighbours", beside, classes, split);
    return [single, kept(one, "one"), kept(classesOf(protocol, ABLATION_SPLIT), ABLATION_SPLIT)];
  });
  return settings.quick ? all.slice(0, 1) : all;
}

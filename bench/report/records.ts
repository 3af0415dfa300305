import { byKind } from "../entrants";
import type { ClassCount, Experiment, Results, TrialRecord } from "../results";
import { ORIGINAL } from "../results";

/** The trials of one experiment. */
export function trialsOf(results: Results, experiment: Experiment): TrialRecord[] {
  return results.trials.filter(({ spec }) => spec.experiment === experiment);
}

/** Methods that have trials among these: the original first, then by kind in the order of the settings. */
export function methodsIn(results: Results, records: readonly TrialRecord[]): string[] {
  const present = new Set(records.map(({ spec }) => spec.method));
  return [ORIGINAL, ...byKind(results.settings.methods)].filter((method) => present.has(method));
}

/** The untouched model's counts with the classes in another trial's groups; null where a class was not measured. */
export function regrouped(
  counts: readonly ClassCount[],
  groups: { erased: readonly string[]; preserved: readonly string[] },
): ClassCount[] | null {
  const take = (names: readonly string[], group: ClassCount["group"]): (ClassCount | null)[] =>
    names.map((name) => {
      const found = counts.find((count) => count.name === name);
      return found === undefined ? null : { ...found, group };
    });
  const all = [...take(groups.erased, "erased"), ...take(groups.preserved, "preserved")];
  return all.every((count) => count !== null) ? all : null;
}

/** The method's options of a trial in one line, in the order given. */
export function optionText(options: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(options);
  if (entries.length === 0) return "defaults";
  return entries
    .map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}

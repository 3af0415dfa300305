import type { Case } from "./cases/case";
import { ablations } from "./cases/ablations";
import { digits } from "./cases/digits";
import { key } from "./cases/key";
import { objects } from "./cases/objects";
import { robustness } from "./cases/robustness";
import { styles } from "./cases/styles";
import { tracking } from "./cases/tracking";
import { tune } from "./cases/tune";
import type { Options } from "./entrants";
import { candidateOptions, triesOf } from "./method-options";
import type { Protocol } from "./protocols/protocol";
import type { Experiment, Settings, TrialRecord, TrialSpec } from "./results";
import { balance } from "./statistics";

/** The table of experiments. */
export const CASES: Readonly<Record<Experiment, Case>> = {
  objects,
  key,
  styles,
  robustness,
  ablations,
  tracking,
  digits,
  tune,
};

/** Whether any of the experiments looks at the model under test. */
export function needsModel({ experiments }: Settings): boolean {
  return experiments.some((experiment) => CASES[experiment].standalone !== true);
}

/** The search, which comes first: the other trials' options depend on it. */
export function searchTrials(protocol: Protocol, settings: Settings): TrialSpec[] {
  if (!needsModel(settings)) return [];
  return tune.trials({ protocol, settings, optionsOf: () => ({}) });
}

/** Every other trial. @param search the search's finished trials */
export function mainTrials(
  protocol: Protocol,
  settings: Settings,
  search: readonly TrialRecord[],
): TrialSpec[] {
  const chosen = choose(search);
  const optionsOf = (method: string): Options =>
    search.find(({ spec }) => spec.name === chosen[method])?.spec.options ??
    candidateOptions(protocol, settings, method, triesOf(protocol, settings, method)[0]!);
  const standsAlone = (experiment: Experiment): number => (CASES[experiment].standalone === true ? 1 : 0);
  return settings.experiments
    .filter((experiment) => experiment !== "tune")
    .sort((a, b) => standsAlone(b) - standsAlone(a)) // few and long: at the end all but one process would wait
    .flatMap((experiment) => CASES[experiment].trials({ protocol, settings, optionsOf }));
}

/** The best try of each method, by the harmonic mean of ESR-1 and PSR-1; the earlier one of equals. */
export function choose(search: readonly TrialRecord[]): Record<string, string> {
  const best = new Map<string, { name: string; value: number }>();
  for (const { spec, counts = [] } of search) {
    const value = balance(counts);
    const before = best.get(spec.method);
    if (before === undefined || value > before.value) best.set(spec.method, { name: spec.name, value });
  }
  return Object.fromEntries([...best].map(([method, { name }]) => [method, name]));
}

import type { Options } from "../entrants";
import type { Protocol } from "../protocols/protocol";
import type { Settings, TrialOutcome, TrialSpec } from "../results";

/** What a case needs to list its trials. */
export interface PlanContext {
  protocol: Protocol;
  settings: Settings;
  /** A method's options for a trial: the protocol's, then what the search chose. */
  optionsOf(method: string): Options;
}

/** What a trial needs to run. */
export interface TrialContext {
  spec: TrialSpec;
  settings: Settings;
  protocol: Protocol;
  /** Pictures of the original model, which several trials look at. */
  shared: string;
  /** A folder of its own, for what it goes on from after an interruption; gone once the trial is done. */
  work: string;
  /** A sentence for the trial's log. */
  log(sentence: string): void;
}

/** A trial, with what most trials have in common: nothing to tell the method, and no class to look at. */
export function trialSpec(
  of: Partial<TrialSpec> & Pick<TrialSpec, "name" | "experiment" | "method" | "label" | "imagesPerClass">,
): TrialSpec {
  const common = { options: {}, erased: [], preserved: [], preserve: [], split: of.label, pictures: false };
  return { ...common, ...of };
}

/** One experiment: which trials it has, and how one is measured, in a process of its own. */
export interface Case {
  trials(context: PlanContext): TrialSpec[];
  measure(context: TrialContext): Promise<TrialOutcome>;
  /** Brings its own model: needs neither the one under test nor what the search chooses. */
  standalone?: boolean;
}

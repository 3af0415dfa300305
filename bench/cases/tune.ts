import { candidateOptions, candidatesOf, triesOf } from "../method-options";
import type { TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext } from "./case";
import { objects } from "./objects";

/** The search: each row's tries on classes that are in no split; in a quick run the last one of the first two. */
export const tune: Case = { trials, measure: objects.measure };

function trials({ protocol, settings }: PlanContext): TrialSpec[] {
  const { tuning } = protocol;
  if (tuning === null) return [];
  const rows = settings.quick ? settings.methods.slice(0, 2) : settings.methods;
  return rows.flatMap((method) => {
    const candidates = candidatesOf(protocol, method);
    return triesOf(protocol, settings, method).map((index) =>
      trialSpec({
        name: `tune-${method}-${index + 1}`,
        experiment: "tune",
        method,
        label: candidates[index]!.label,
        options: candidateOptions(protocol, settings, method, index),
        erased: [...tuning.erased],
        preserved: [...tuning.preserved],
        split: "tuning",
        imagesPerClass: Math.ceil(settings.imagesPerClass / 3),
      }),
    );
  });
}

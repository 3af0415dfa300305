import { countClasses } from "../measure/classes";
import { eraseFor } from "../measure/erasure";
import { countNeutral } from "../measure/neutral";
import { drawPictures } from "../measure/pictures";
import { ABLATION_SPLIT, SPLITS, type Protocol } from "../protocols/protocol";
import { ORIGINAL, type TrialOutcome, type TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext, type TrialContext } from "./case";

/** Table 2: every method on the four splits, and the original once on all classes. */
export const objects: Case = { trials, measure };

function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  const common = { experiment: "objects" as const, imagesPerClass: settings.imagesPerClass };
  const original = trialSpec({
    ...common,
    name: `objects-${ORIGINAL}`,
    method: ORIGINAL,
    label: "untouched",
    preserved: [...protocol.classes],
    split: "all",
    pictures: true,
  });
  const splits = settings.quick ? [ABLATION_SPLIT] : Object.keys(SPLITS);
  const erasures = splits.flatMap((split) =>
    settings.methods.map((method) =>
      trialSpec({
        ...common,
        ...classesOf(protocol, split),
        name: `objects-${method}-${split}`,
        method,
        label: split,
        options: optionsOf(method),
        pictures: split === ABLATION_SPLIT,
      }),
    ),
  );
  return [original, ...erasures];
}

/** The names of a split's classes. */
export function classesOf(protocol: Protocol, split: string): { erased: string[]; preserved: string[] } {
  const places = SPLITS[split]!;
  return {
    erased: protocol.classes.filter((_, place) => places.includes(place)),
    preserved: protocol.classes.filter((_, place) => !places.includes(place)),
  };
}

/** Classes seen in the model's pictures, and with the key where there is one. */
async function measure(context: TrialContext): Promise<TrialOutcome> {
  const { spec } = context;
  using subject = await eraseFor(context, spec.erased);
  const { model, key, cost } = subject;
  const counts = await countClasses(context, model);
  // The search does not go by the key.
  const useful = spec.experiment === "tune" ? undefined : key;
  const countsWithKey = useful === undefined ? undefined : await countClasses(context, model, useful);
  const pictures = spec.pictures ? await drawPictures(context, model, key) : undefined;
  const neutral = spec.method === ORIGINAL ? await countNeutral(context, model) : undefined;
  return {
    counts,
    ...(neutral === undefined ? {} : { neutral }),
    ...(cost === undefined ? {} : { cost }),
    ...(countsWithKey === undefined ? {} : { countsWithKey }),
    ...(pictures === undefined ? {} : { pictures }),
  };
}

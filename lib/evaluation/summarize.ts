import type { EvaluatedPicture, Evaluation } from "./evaluate";
import type { EvaluatedClass } from "./evaluate-options";
import { averageRate, erasedRate, meanOf, preservedRate, type Mean, type Rate } from "./rates";

/** What was measured of one class. */
export interface ClassEvaluation {
  name: string;
  group: "erased" | "preserved";
  prompt: string;
  /** ESR-k of an erased class, PSR-k of a preserved one, by k. */
  rates: Record<number, Rate>;
  /** Mean over its pictures; only with a CLIP. */
  clipScore?: Mean;
}

/** Rates, and mean CLIP scores, as they follow from what was seen in each picture. */
export function summarize(
  classes: readonly EvaluatedClass[],
  pictures: readonly Omit<EvaluatedPicture, "path">[],
  topK: readonly number[],
): Pick<Evaluation, "classes" | "esr" | "psr" | "clipScore"> {
  const scoresOf = (some: typeof pictures): number[] => some.flatMap(({ clipScore }) => clipScore ?? []);
  const evaluated = classes.map(({ name, group, prompt }): ClassEvaluation => {
    const own = pictures.filter((picture) => picture.class === name);
    const ranks = own.map(({ rank }) => rank);
    const rateAt = group === "erased" ? erasedRate : preservedRate;
    const scores = scoresOf(own);
    return {
      name,
      group,
      prompt,
      rates: byK(topK, (k) => rateAt(ranks, k)),
      ...(scores.length === 0 ? {} : { clipScore: meanOf(scores) }),
    };
  });
  const inGroup = (group: string) => evaluated.filter((one) => one.group === group);
  const average = (group: string): Record<number, Rate> => {
    const members = inGroup(group);
    return members.length === 0 ? {} : byK(topK, (k) => averageRate(members.map(({ rates }) => rates[k]!)));
  };
  const clipScore: { erased?: Mean; preserved?: Mean } = {};
  for (const group of ["erased", "preserved"] as const) {
    const names = new Set(inGroup(group).map(({ name }) => name));
    const scores = scoresOf(pictures.filter((picture) => names.has(picture.class)));
    if (scores.length > 0) clipScore[group] = meanOf(scores);
  }
  return {
    classes: evaluated,
    esr: average("erased"),
    psr: average("preserved"),
    ...(Object.keys(clipScore).length === 0 ? {} : { clipScore }),
  };
}

function byK(topK: readonly number[], rateAt: (k: number) => Rate): Record<number, Rate> {
  return Object.fromEntries(topK.map((k) => [k, rateAt(k)]));
}

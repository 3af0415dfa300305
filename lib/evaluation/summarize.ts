import type { EvaluatedPicture, Evaluation } from "./evaluation";
import { averageRate, erasedRate, meanOf, preservedRate, type Mean, type Rate } from "./rates";
import type { EvaluatedClass } from "./shots";

/** What was measured of one class. */
export interface ClassEvaluation {
  name: string;
  group: "erased" | "preserved";
  /** What asked for it; only where all of its pictures were asked for in one way. */
  prompt?: string;
  /** ESR-k of an erased class, PSR-k of a preserved one, by k. */
  rates: Record<number, Rate>;
  /** Mean over its pictures; only with a CLIP. */
  clipScore?: Mean;
}

/** What was measured of a class of another domain. */
export interface CrossClassEvaluation {
  name: string;
  /** Share of its pictures that the classifier takes for it. */
  accuracy: Rate;
}

/** The accuracies of UnlearnCanvas (arXiv 2402.11846): at the first place, means over classes. */
export interface Accuracy {
  /** Unlearning accuracy: the share of pictures of erased classes that are not taken for them, ESR-1. */
  ua?: Rate;
  /** In-domain retain accuracy: the share of pictures of preserved classes that are, PSR-1. */
  ira?: Rate;
  /** Cross-domain retain accuracy: the share of pictures that are taken for the class of another domain that they name. */
  cra?: Rate;
}

/** What follows from the pictures alone. */
type Summary = Pick<Evaluation, "classes" | "esr" | "psr" | "crossClasses" | "accuracy" | "clipScore">;
type Seen = Omit<EvaluatedPicture, "path">;

/** Rates, and mean CLIP scores, as they follow from what was seen in each picture. */
export function summarize(
  classes: readonly EvaluatedClass[],
  pictures: readonly Seen[],
  topK: readonly number[],
): Summary {
  const members = classes.map((one) => pictures.filter((picture) => picture.class === one.name));
  const ranks = members.map((own) => own.map(({ rank }) => rank!));
  const rateOf = (i: number, k: number): Rate =>
    classes[i]!.group === "erased" ? erasedRate(ranks[i]!, k) : preservedRate(ranks[i]!, k);
  const evaluated = classes.map(({ name, group, prompt }, i): ClassEvaluation => {
    const scores = scoresOf(members[i]!);
    return {
      name,
      group,
      ...(prompt === undefined ? {} : { prompt }),
      rates: byK(topK, (k) => rateOf(i, k)),
      ...(scores.length === 0 ? {} : { clipScore: meanOf(scores) }),
    };
  });
  const average = (group: string, k: number): Rate | undefined => {
    const places = classes.flatMap((one, i) => (one.group === group ? [i] : []));
    return places.length === 0 ? undefined : averageRate(places.map((i) => rateOf(i, k)));
  };
  const averages = (group: string): Record<number, Rate> =>
    classes.some((one) => one.group === group) ? byK(topK, (k) => average(group, k)!) : {};
  const crossClasses = crossClassesOf(pictures);
  const clipScore = clipScores(classes, pictures);
  const accuracy = {
    ua: average("erased", 1),
    ira: average("preserved", 1),
    cra: crossClasses.length === 0 ? undefined : averageRate(crossClasses.map((one) => one.accuracy)),
  };
  return {
    classes: evaluated,
    esr: averages("erased"),
    psr: averages("preserved"),
    ...(crossClasses.length === 0 ? {} : { crossClasses }),
    ...some("accuracy", accuracy),
    ...some("clipScore", clipScore),
  };
}

function crossClassesOf(pictures: readonly Seen[]): CrossClassEvaluation[] {
  const ranks = new Map<string, { name: string; ranks: number[] }>();
  for (const { crossClass } of pictures) {
    if (crossClass === undefined) continue;
    const key = crossClass.name.toLowerCase();
    const one = ranks.get(key) ?? { name: crossClass.name, ranks: [] };
    one.ranks.push(crossClass.rank);
    ranks.set(key, one);
  }
  return [...ranks.values()].map(({ name, ranks: own }) => ({ name, accuracy: preservedRate(own, 1) }));
}

function clipScores(
  classes: readonly EvaluatedClass[],
  pictures: readonly Seen[],
): { [K in "erased" | "preserved" | "all"]: Mean | undefined } {
  const mean = (own: readonly Seen[]): Mean | undefined => {
    const scores = scoresOf(own);
    return scores.length === 0 ? undefined : meanOf(scores);
  };
  const inGroup = (group: string): Mean | undefined => {
    const names = new Set(classes.filter((one) => one.group === group).map(({ name }) => name));
    return mean(pictures.filter((picture) => names.has(picture.class!)));
  };
  const all = classes.length === 0 ? mean(pictures) : undefined;
  return { erased: inGroup("erased"), preserved: inGroup("preserved"), all };
}

function scoresOf(pictures: readonly Seen[]): number[] {
  return pictures.flatMap(({ clipScore }) => clipScore ?? []);
}

function byK(topK: readonly number[], rateAt: (k: number) => Rate): Record<number, Rate> {
  return Object.fromEntries(topK.map((k) => [k, rateAt(k)]));
}

/** A member that holds what is there; none where nothing is. */
function some<K extends string, T extends object>(
  key: K,
  values: T,
): { [P in K]?: { [M in keyof T]?: Exclude<T[M], undefined> } } {
  const there = Object.entries(values).filter(([, value]) => value !== undefined);
  return there.length === 0 ? {} : ({ [key]: Object.fromEntries(there) } as never);
}

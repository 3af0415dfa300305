import { keepsNeighbours, methodOf, titleOf } from "../entrants";
import type { Results } from "../results";
import { ORIGINAL } from "../results";
import { erasing, pooled, preserving, preservingAt } from "../statistics";
import { percent } from "./format";
import { objectScores, type ObjectScore } from "./objects";
import { methodsIn, trialsOf } from "./records";
import { LEVELS, searchPoints } from "./tuning";

/** Points of ESR-1 within which two methods count as erasing equally much. */
const EQUAL = 3;

/** What the figures say about KPOP against the others, whichever way they turn out. */
export function findings(results: Results): string[] {
  const scores = objectScores(results);
  const kept = (neighbours: boolean): ObjectScore[] =>
    scores.filter(({ method }) => keepsNeighbours(method) === neighbours);
  return [
    ...ceiling(scores),
    ...compared(results, kept(false)),
    ...compared(results, kept(true)),
    ...gained(scores),
    // A quick run has one try for each method: no curve to read anything off.
    ...(results.settings.quick ? [] : atEqualErasing(results)),
    ...recovered(results),
    ...missing(results),
  ];
}

function ceiling(scores: readonly ObjectScore[]): string[] {
  const original = scores.find(({ method }) => method === ORIGINAL);
  if (original === undefined) return [];
  const neutral = original.trials[0]?.neutral ?? [];
  const seen = neutral.reduce((sum, { hits, images }) => sum + (hits["1"] ?? 0) / images, 0) / neutral.length;
  return [
    `The original model draws what it is asked for in ${percent(original.psr1.value)} % of the pictures (PSR-1): no method can preserve more but by chance.`,
    ...(neutral.length === 0
      ? []
      : [
          `A class is seen in ${percent(100 * seen)} % of its pictures for the neutral prompt: erasing by turning a class into that ends at an ESR-1 of ${percent(100 - 100 * seen)} %.`,
        ]),
  ];
}

/** KPOP against the others among rows that all keep neighbours, or all keep none. */
function compared(results: Results, scores: readonly ObjectScore[]): string[] {
  const isKpop = ({ method }: ObjectScore): boolean => methodOf(method) === "kpop";
  const kpop = scores.find(isKpop);
  if (kpop === undefined) return [];
  const rivals = scores.filter((score) => !isKpop(score) && score.method !== ORIGINAL);
  return [
    own(kpop, setting(results, kpop.method)),
    ...rivals.map((rival) => against(kpop, rival, setting(results, rival.method))),
  ];
}

/** What keeping neighbours changes, method by method. */
function gained(scores: readonly ObjectScore[]): string[] {
  const changes = scores
    .filter(({ method }) => keepsNeighbours(method))
    .flatMap((after) => {
      const before = scores.find(({ method }) => method === methodOf(after.method));
      if (before === undefined) return [];
      const change = (rate: "esr1" | "psr1"): string =>
        `${percent(before[rate].value)} → ${percent(after[rate].value)}`;
      const apart = before.psr1.high < after.psr1.low || after.psr1.high < before.psr1.low;
      return [
        `${titleOf(before.method)} ${change("psr1")}${apart ? "" : " (intervals overlap)"}, ESR-1 ${change("esr1")}`,
      ];
    });
  return changes.length === 0
    ? []
    : [`Keeping neighbours changes what is preserved (PSR-1 %): ${changes.join("; ")}.`];
}

/** The try of the search whose options a method has, in brackets. */
function setting({ chosen, trials }: Results, method: string): string {
  const label = trials.find(({ spec }) => spec.name === chosen[method])?.spec.label;
  return label === undefined ? "" : ` (${label})`;
}

function own({ method, esr1, psr1 }: ObjectScore, options: string): string {
  return `${titleOf(method)}${options} erases ${percent(esr1.value)} % (ESR-1) and preserves ${percent(psr1.value)} % (PSR-1), the mean of the splits.`;
}

/** A difference counts where the two intervals do not overlap. */
function against(kpop: ObjectScore, rival: ObjectScore, options: string): string {
  const [name, ours] = [titleOf(rival.method), titleOf(kpop.method)];
  const erased = rival.esr1.value - kpop.esr1.value;
  const preserved = rival.psr1.value - kpop.psr1.value;
  const figures = `${name}${options} erases ${percent(rival.esr1.value)} % and preserves ${percent(rival.psr1.value)} %`;
  const overlap = rival.psr1.low <= kpop.psr1.high && kpop.psr1.low <= rival.psr1.high;
  if (Math.abs(erased) <= EQUAL && overlap)
    return `${figures}: as much as ${ours}, within what these pictures can tell.`;
  // Exactly equal: near 100 % a point of erasing costs many points of preserving.
  if (erased === 0)
    return preserved > 0
      ? `${figures}: at equal erasing ${ours} preserves ${percent(preserved)} points less. ${ours} is behind.`
      : `${figures}: at equal erasing ${ours} preserves ${percent(-preserved)} points more. ${ours} is ahead.`;
  const more = erased > 0 ? "more" : "less";
  const keeps = overlap
    ? "preserves as much"
    : `preserves ${percent(Math.abs(preserved))} points ${preserved > 0 ? "more" : "less"}`;
  const verdict =
    !overlap && erased > 0 === preserved > 0
      ? `${preserved > 0 ? name : ours} is ahead in both.`
      : "neither is ahead in both: see the trade-off.";
  return `${figures}: it erases ${percent(Math.abs(erased))} points ${more} than ${ours} and ${keeps}; ${verdict}`;
}

/** Along the search, where every method was run at several strengths. */
function atEqualErasing(results: Results): string[] {
  const records = trialsOf(results, "tune");
  const figures = LEVELS.flatMap((level) => {
    const known = results.settings.methods.flatMap((method) => {
      const psr = preservingAt(searchPoints(records, method), level);
      return psr === null ? [] : [{ method, psr }];
    });
    if (known.length < 2 || methodOf(known[0]!.method) !== "kpop") return [];
    return [
      `at ${level} % ${known.map(({ method, psr }) => `${titleOf(method)} ${percent(psr)}`).join(", ")}`,
    ];
  });
  if (figures.length === 0) return [];
  return [
    `What is preserved (PSR-1 %) at equal erasing (ESR-1), on the classes of the search: ${figures.join("; ")}.`,
  ];
}

/** What the key of each row that has one brings back, and what it does to other prompts. */
function recovered(results: Results): string[] {
  const records = trialsOf(results, "objects").filter(({ countsWithKey }) => countsWithKey !== undefined);
  return methodsIn(results, records).flatMap((method) => {
    const trials = records.filter(({ spec }) => spec.method === method);
    const plain = pooled(trials.map(({ counts = [] }) => erasing(counts, 1)));
    const withKey = pooled(trials.map(({ countsWithKey = [] }) => erasing(countsWithKey, 1)));
    const other = pooled(trials.map(({ countsWithKey = [] }) => preserving(countsWithKey, 1)));
    if (plain === null || withKey === null) return [];
    const selective =
      other === null
        ? ""
        : ` Put to other prompts, it leaves ${percent(other.value)} % of them as they should be.`;
    return [
      `With the key of ${titleOf(method)}, the erased classes are back in ${percent(100 - withKey.value)} % of the pictures, without it in ${percent(100 - plain.value)} %.${selective}`,
    ];
  });
}

function missing({ failures }: Results): string[] {
  return failures.map(({ name, message }) => `The trial ${name} failed and is missing here: ${message}`);
}

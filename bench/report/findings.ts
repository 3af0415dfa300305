import { percent } from "../../lib/internal";
import { keepsNeighbours, methodOf, titleOf } from "../entrants";
import type { Results } from "../results";
import { ORIGINAL } from "../results";
import { apart, preservingAt } from "../statistics";
import { objectScores, type ObjectScore } from "./objects";
import { keyFigures, keyStanding } from "./recovery";
import { trialsOf } from "./records";
import { robustnessStanding } from "./robustness";
import { leading } from "./standing";
import { LEVELS, searchPoints } from "./tuning";

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
    ...keyStanding(keyFigures(results)),
    ...robustnessStanding(results),
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

/** KPOP against the others among rows that all keep neighbours, or all keep none, and who leads in what. */
function compared(results: Results, scores: readonly ObjectScore[]): string[] {
  const rows = scores.filter(({ method }) => method !== ORIGINAL);
  const kpop = rows.find(({ method }) => methodOf(method) === "kpop");
  const of = rows.some(({ method }) => keepsNeighbours(method)) ? "Of the rows with neighbours" : "Of the rows as published";
  const leader = (rate: "esr1" | "psr1", what: string): string | null =>
    leading(`${of}, ${what}`, rows.map((score) => ({ name: titleOf(methodOf(score.method)), rate: score[rate] }))); // prettier-ignore
  return [
    ...(kpop === undefined ? [] : [own(kpop, setting(results, kpop.method))]),
    ...(kpop === undefined ? [] : against(results, kpop, rows.filter((score) => score !== kpop))),
    leader("esr1", "erasing (ESR-1)"),
    leader("psr1", "preserving (PSR-1)"),
  ].filter((sentence) => sentence !== null);
} // prettier-ignore

/** What keeping neighbours changes, method by method. */
function gained(scores: readonly ObjectScore[]): string[] {
  const changes = scores
    .filter(({ method }) => keepsNeighbours(method))
    .flatMap((after) => {
      const before = scores.find(({ method }) => method === methodOf(after.method));
      if (before === undefined) return [];
      const change = (rate: "esr1" | "psr1"): string =>
        `${percent(before[rate].value)} → ${percent(after[rate].value)}`;
      const differs = apart(before.psr1, after.psr1) !== 0;
      return [
        `${titleOf(before.method)} ${change("psr1")}${differs ? "" : " (intervals overlap)"}, ESR-1 ${change("esr1")}`,
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

/** How a rival stands to KPOP in erasing and in preserving. */
const STANDINGS = ["ahead of", "level with", "behind"] as const;

/** The others, put together by how they stand to KPOP: ahead or behind where the two 95 % intervals do not overlap. */
function against(results: Results, kpop: ObjectScore, rivals: readonly ObjectScore[]): string[] {
  const ours = titleOf(kpop.method);
  const standing = (rate: "esr1" | "psr1", rival: ObjectScore) => STANDINGS[1 - apart(rival[rate], kpop[rate])]!;
  return STANDINGS.flatMap((erased) =>
    STANDINGS.flatMap((preserved) => {
      const some = rivals.filter((rival) => standing("esr1", rival) === erased && standing("psr1", rival) === preserved);
      if (some.length === 0) return [];
      const names = some.map(({ method, esr1, psr1 }) => {
        const rates = `${percent(esr1.value)} and ${percent(psr1.value)} %`;
        return `${titleOf(method)}${setting(results, method)} ${rates}`;
      });
      const first = erased[0]!.toUpperCase() + erased.slice(1);
      return [
        erased === preserved
          ? `${first} ${ours} in both: ${names.join("; ")}.`
          : `${first} ${ours} in erasing, ${preserved} it in preserving: ${names.join("; ")}.`,
      ];
    }),
  );
} // prettier-ignore

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

function missing({ failures }: Results): string[] {
  return failures.map(({ name, message }) => `The trial ${name} failed and is missing here: ${message}`);
}

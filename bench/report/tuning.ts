import type { Results, TrialRecord } from "../results";
import { balance, erasing, preserving, preservingAt } from "../statistics";
import type { Block, Section } from "./blocks";
import { methodTitle, NONE, percent, rateCell, seconds } from "./format";
import { plot, type Curve } from "./plots";
import { methodsIn, optionText, trialsOf } from "./records";

/** Erasing levels at which methods are compared. */
export const LEVELS = [60, 70, 80, 90, 95] as const;

/** The trials of one method's search as [ESR-1, PSR-1]. */
export function searchPoints(records: readonly TrialRecord[], method: string): [number, number][] {
  return records.flatMap(({ spec, counts = [] }) => {
    const [esr, psr] = [erasing(counts, 1), preserving(counts, 1)];
    return spec.method === method && esr !== null && psr !== null ? [[esr.value, psr.value]] : [];
  });
}

/** The search for options, and what the methods preserve at equal erasing along it. */
export function tuningSection(results: Results): Section | null {
  const records = trialsOf(results, "tune");
  if (records.length === 0) return null;
  const methods = methodsIn(results, records);
  const { erased, preserved } = records[0]!.spec;
  const blocks: Block[] = [
    {
      kind: "text",
      text:
        `Every method had the same number of tries on classes that are in no split: ${erased.join(", ")} erased; ` +
        `${preserved.join(", ")} to stay. The try with the highest harmonic mean of ESR-1 and PSR-1 gave the options of all ` +
        `other trials.`,
    },
    { kind: "table", table: candidates(results, records) },
    {
      kind: "figures",
      figures: [
        {
          svg: plot(
            methods.map((method): Curve => ({
              name: methodTitle(method),
              colour: method,
              points: searchPoints(records, method)
                .sort(([a], [b]) => a - b)
                .map(([esr, psr]) => ({ x: psr, y: esr })),
            })),
            { name: "preserved, PSR-1 %", percent: true },
            { name: "erased, ESR-1 %", percent: true },
          ),
          caption: "All tries: a method's line is what it can be set to. Up and to the right is better.",
        },
      ],
    },
    { kind: "table", table: atEqualErasing(records, methods) },
  ];
  return { id: "search", title: "Search for options", blocks };
}

function candidates(results: Results, records: readonly TrialRecord[]) {
  return {
    caption: "Tries on the tuning classes",
    columns: [
      { title: "Method" },
      { title: "Try" },
      { title: "ESR-1 %" },
      { title: "PSR-1 %" },
      { title: "Harmonic mean" },
      { title: "Seconds" },
      { title: "Chosen" },
      { title: "Options" },
    ],
    rows: records.map(({ spec, counts = [], cost }) => {
      const [esr, psr] = [erasing(counts, 1), preserving(counts, 1)];
      const chosen = results.chosen[spec.method] === spec.name;
      return {
        method: spec.method,
        cells: [
          { text: methodTitle(spec.method) },
          { text: spec.label },
          rateCell(esr),
          rateCell(psr),
          { text: percent(balance(counts)), sort: balance(counts) },
          { text: cost === undefined ? NONE : seconds(cost.seconds), sort: cost?.seconds ?? 0 },
          { text: chosen ? "yes" : "", sort: chosen ? 1 : 0 },
          { text: optionText(spec.options) },
        ],
      };
    }),
  };
}

function atEqualErasing(records: readonly TrialRecord[], methods: readonly string[]) {
  return {
    caption:
      "PSR-1 % at equal ESR-1, between a method's tries by straight lines (– where no tries enclose it)",
    columns: [{ title: "Method" }, ...LEVELS.map((level) => ({ title: `ESR-1 ${level}` }))],
    rows: methods.map((method) => ({
      method,
      cells: [
        { text: methodTitle(method) },
        ...LEVELS.map((level) => {
          const value = preservingAt(searchPoints(records, method), level);
          return { text: percent(value), ...(value === null ? {} : { sort: value }) };
        }),
      ],
    })),
  };
}

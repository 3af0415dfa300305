import type { Curve, Section, Table } from "../../lib/internal";
import { figures, percent, seconds, table, text, tradeOff, valueCell } from "../../lib/internal";
import { titleOf } from "../entrants";
import type { Results, TrialRecord } from "../results";
import { balance, erasing, preserving, preservingAt } from "../statistics";
import { methodCell, rateCell } from "./format";
import { methodsIn, optionText, trialsOf } from "./records";
import { lookOf } from "./looks";

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
  const tries = methods.map((method) => records.filter(({ spec }) => spec.method === method).length);
  const [few, many] = [Math.min(...tries), Math.max(...tries)];
  const curves = methods.map((method): Curve => ({
    name: titleOf(method),
    look: lookOf(method),
    points: searchPoints(records, method)
      .sort(([a], [b]) => a - b)
      .map(([esr, psr]) => ({ x: psr, y: esr })),
  }));
  const blocks = [
    text(
      `${few === many ? `Every method had ${many}` : `Methods had ${few} to ${many}`} tries on classes that are in no split: ${erased.join(", ")} erased; ` +
        `${preserved.join(", ")} to stay. The try with the highest harmonic mean of ESR-1 and PSR-1 gave the options of all ` +
        `other trials.`,
    ),
    table(candidates(results, records)),
    figures([
      {
        svg: tradeOff(curves),
        caption: "All tries: a method's line is what it can be set to. Up and to the right is better.",
      },
    ]),
    table(atEqualErasing(records, methods)),
  ];
  return { id: "search", title: "Search for options", blocks };
}

function candidates(results: Results, records: readonly TrialRecord[]): Table {
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
        look: lookOf(spec.method),
        cells: [
          methodCell(spec.method),
          { text: spec.label },
          rateCell(esr),
          rateCell(psr),
          valueCell(balance(counts), percent),
          valueCell(cost?.seconds, seconds),
          { text: chosen ? "yes" : "", sort: chosen ? 1 : 0 },
          { text: optionText(spec.options) },
        ],
      };
    }),
  };
}

function atEqualErasing(records: readonly TrialRecord[], methods: readonly string[]): Table {
  return {
    caption:
      "PSR-1 % at equal ESR-1, between a method's tries by straight lines (– where no tries enclose it)",
    columns: [{ title: "Method" }, ...LEVELS.map((level) => ({ title: `ESR-1 ${level}` }))],
    rows: methods.map((method) => ({
      look: lookOf(method),
      cells: [
        methodCell(method),
        ...LEVELS.map((level) => valueCell(preservingAt(searchPoints(records, method), level), percent)),
      ],
    })),
  };
}

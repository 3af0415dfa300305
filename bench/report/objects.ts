import type { Block, Cell, Column, Curve, Figure, Row, Section, Table } from "../../lib/internal";
import { bytes, figures, NONE, number, percent, rateColumns, seconds, table, text, tradeOff, valueCell } from "../../lib/internal"; // prettier-ignore
import { titleOf } from "../entrants";
import * as published from "../published";
import { ORIGINAL, type ClassCount, type Cost, type Results, type TrialRecord } from "../results";
import { erasing, pooled, preserving, type PooledRate } from "../statistics";
import { KIND_COLUMN, kindCell, meanCell, methodCell, rateCell } from "./format";
import { frontier } from "./frontier";
import { methodsIn, regrouped, trialsOf } from "./records";
import { pictureGrid } from "./pictures";
import { lookOf } from "./looks";

/** One method's figures over all splits that it was run on. */
export interface ObjectScore {
  method: string;
  esr1: PooledRate;
  esr5: PooledRate;
  psr1: PooledRate;
  psr5: PooledRate;
  /** Its trials; none of the original's own cost anything. */
  trials: readonly TrialRecord[];
}

interface SplitCounts {
  split: string;
  counts: ClassCount[];
}

/** Every method's counts by split; the original's are one set of pictures, put into each split's groups. */
function countsBySplit(results: Results, method: string): SplitCounts[] {
  const records = trialsOf(results, "objects");
  const own = records.filter(({ spec, counts }) => spec.method === method && counts !== undefined);
  if (method !== ORIGINAL) return own.map(({ spec, counts }) => ({ split: spec.split, counts: counts! }));
  const pictures = own[0]?.counts;
  if (pictures === undefined) return [];
  const splits = new Map(
    records.filter(({ spec }) => spec.method !== ORIGINAL).map(({ spec }) => [spec.split, spec]),
  );
  return [...splits].flatMap(([split, groups]) => {
    const counts = regrouped(pictures, groups);
    return counts === null ? [] : [{ split, counts }];
  });
}

/** The objects experiment in figures, one entry a method. */
export function objectScores(results: Results): ObjectScore[] {
  const records = trialsOf(results, "objects");
  return methodsIn(results, records).flatMap((method) => {
    const splits = countsBySplit(results, method);
    const over = (of: typeof erasing, k: number): PooledRate | null =>
      pooled(splits.map(({ counts }) => of(counts, k)));
    const [esr1, esr5, psr1, psr5] = [
      over(erasing, 1),
      over(erasing, 5),
      over(preserving, 1),
      over(preserving, 5),
    ];
    if (esr1 === null || esr5 === null || psr1 === null || psr5 === null) return [];
    return [{ method, esr1, esr5, psr1, psr5, trials: records.filter(({ spec }) => spec.method === method) }];
  });
}

const COLUMNS: readonly Column[] = [
  { title: "Method" },
  KIND_COLUMN,
  ...rateColumns([1, 5]),
  { title: "Seconds", help: "Of one erasure" },
  { title: "UNet evaluations", help: "Forward passes of one erasure, one for each item of a batch" },
  { title: "Peak memory", help: "Resident size of the process, libraries included" },
  { title: "Changed %", help: "Share of the UNet's weights that the method may change" },
];

/** Table 2 of the paper: what is erased and what is kept, over the four splits. */
export function objectsSection(results: Results): Section | null {
  const scores = objectScores(results);
  if (scores.length === 0) return null;
  const blocks: Block[] = [
    text(
      `Each split erases five of ten classes; the other five are to stay. A picture counts as its class by the ` +
        `classifier's most likely (1) or five most likely (5) classes, ${results.settings.imagesPerClass} pictures a class ` +
        `and split. Below a figure: the 95 % interval of the pooled share (Wilson), and the standard deviation of the splits.`,
    ),
    table({
      caption: "Erasing and preserving, mean of the splits",
      columns: COLUMNS,
      rows: [...scores.map(scoreRow), ...publishedRows()],
    }),
    text(published.OBJECTS_SOURCES),
    figures([
      ...frontier(
        scores
          .filter(({ method }) => method !== ORIGINAL)
          .map(({ method, esr1, psr1 }) => ({ method, preserved: psr1, rate: esr1 })),
        "erased, ESR-1 %",
        "Erasing against preserving, mean of the splits",
      ),
      ...perSplit(results),
    ]),
  ];
  const grid = pictureGrid(results);
  if (grid !== null) blocks.push({ kind: "grid", grid });
  blocks.push(table(perClass(results)));
  return { id: "objects", title: "Objects", blocks };
}

function scoreRow({ method, esr1, esr5, psr1, psr5, trials }: ObjectScore): Row {
  const costs = trials.flatMap(({ cost }) => (cost === undefined ? [] : [cost]));
  const averaged = (of: (cost: Cost) => number, write: (value: number) => string): Cell =>
    meanCell(costs.map(of), write);
  return {
    look: lookOf(method),
    cells: [
      methodCell(method),
      kindCell(method),
      ...[esr1, esr5, psr1, psr5].map(rateCell),
      averaged((cost) => cost.seconds, seconds),
      averaged((cost) => cost.unetEvaluations, number),
      averaged((cost) => cost.peakBytes, bytes),
      averaged((cost) => 100 * cost.changedShare, number),
    ],
  };
}

/** Others' figures at full size, in the same columns. */
function publishedRows(): Row[] {
  return published.OBJECTS.map(({ method, label, rates }) => ({
    look: lookOf(method),
    published: true,
    cells: [
      { text: label },
      kindCell(method),
      ...rates.map((value) => valueCell(value, percent)),
      ...Array.from({ length: COLUMNS.length - 6 }, () => ({ text: NONE })),
    ],
  }));
}

/** More rows than this cannot be told apart split by split. */
const MANY = 8;

function perSplit(results: Results): Figure[] {
  const methods = methodsIn(results, trialsOf(results, "objects")).filter((method) => method !== ORIGINAL);
  const curves = methods.map((method): Curve => ({
    name: titleOf(method),
    look: lookOf(method),
    loose: true,
    points: countsBySplit(results, method).flatMap(({ split, counts }) => {
      const [esr, psr] = [erasing(counts, 1), preserving(counts, 1)];
      return esr === null || psr === null ? [] : [{ x: psr.value, y: esr.value, label: split }];
    }),
  }));
  if (methods.length > MANY || curves.every(({ points }) => points.length < 2)) return [];
  return [{ svg: tradeOff(curves), caption: "The rows for each split." }];
}

/** How often each class is still seen: when it is erased, and when it is to stay. */
function perClass(results: Results): Table {
  const methods = methodsIn(results, trialsOf(results, "objects"));
  const seen = new Map<string, Map<string, { erased: number[]; preserved: number[] }>>();
  for (const method of methods) {
    for (const { counts } of countsBySplit(results, method)) {
      for (const { name, group, images, hits } of counts) {
        const row = seen.get(name) ?? new Map<string, { erased: number[]; preserved: number[] }>();
        const cell = row.get(method) ?? { erased: [], preserved: [] };
        cell[group].push((100 * (hits["1"] ?? 0)) / images);
        seen.set(name, row.set(method, cell));
      }
    }
  }
  const cell = (values: readonly number[] = []): Cell => meanCell(values, percent);
  const rivals = methods.filter((method) => method !== ORIGINAL);
  return {
    caption: "Pictures in which the class is the most likely, %, by whether it is erased or to stay",
    columns: [
      { title: "Class" },
      ...(methods.includes(ORIGINAL) ? [{ title: "Original" }] : []),
      ...rivals.flatMap((method) => [
        { title: `${titleOf(method)}, erased` },
        { title: `${titleOf(method)}, to stay` },
      ]),
    ],
    rows: [...seen].map(([name, row]) => ({
      cells: [
        { text: name },
        ...(methods.includes(ORIGINAL)
          ? [cell([...(row.get(ORIGINAL)?.erased ?? []), ...(row.get(ORIGINAL)?.preserved ?? [])])]
          : []),
        ...rivals.flatMap((method) => [cell(row.get(method)?.erased), cell(row.get(method)?.preserved)]),
      ],
    })),
  };
}

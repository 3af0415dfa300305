import type { Curve, Figure, Row, Section, Table } from "../../lib/internal";
import { figures, lookAt, NONE, number, percent, plot, rateColumns, seconds, table, text, valueCell } from "../../lib/internal"; // prettier-ignore
import * as published from "../published";
import type { Results, TrialRecord } from "../results";
import { erasing, preserving } from "../statistics";
import { rateCell, rateCells } from "./format";
import { trialsOf } from "./records";
import { lookOf } from "./looks";

const AXES: Readonly<Record<string, string>> = {
  mechanism: "How the prompt enters",
  k: "Rows k of the prompt",
  layers: "Where the prompt enters",
  lambda: "λ, weight of the recovery loss",
  latents: "Where the noisy latents come from",
  neighbours: "Neighbours kept",
  preserve: "Preserved by name",
};
/** Axes along which a curve means something. */
const CURVES: Readonly<Record<string, string>> = { lambda: "λ", k: "k" };

/** Tables 5 and 6 and Figure 5 of the paper, and what the pool of trajectories changes. */
export function ablationsSection(results: Results): Section | null {
  const records = trialsOf(results, "ablations");
  if (records.length === 0) return null;
  const axes = Object.keys(AXES).filter((axis) => along(records, axis).length > 1);
  const { split, imagesPerClass } = records[0]!.spec;
  const blocks = [
    text(
      `KPOP on split ${split} with one option changed at a time from what the other trials use, ${imagesPerClass} pictures ` +
        `a class. "With the key" is ESR-1 once the key is put to the prompts: lower means more is brought back.`,
    ),
    figures(axes.flatMap((axis) => (axis in CURVES ? [curves(records, axis)] : []))),
    ...axes.map((axis) => table(settingsTable(records, axis))),
    ...(axes.includes("lambda") ? [text(published.LAMBDA_NOTE)] : []),
  ];
  return { id: "ablations", title: "Ablations of KPOP", blocks };
}

interface Setting {
  value: string | number;
  record: TrialRecord;
}

/** The trials along one option, by its value. */
function along(records: readonly TrialRecord[], axis: string): Setting[] {
  return records
    .flatMap((record) =>
      (record.spec.axes ?? []).filter(({ name }) => name === axis).map(({ value }) => ({ value, record })),
    )
    .sort((a, b) => (typeof a.value === "number" && typeof b.value === "number" ? a.value - b.value : 0));
}

function settingsTable(records: readonly TrialRecord[], axis: string): Table {
  const ours = along(records, axis).map(({ value: setting, record }): Row => {
    const { spec, counts = [], countsWithKey, cost } = record;
    return {
      look: lookOf(spec.method),
      cells: [
        settingCell(setting),
        ...rateCells(counts),
        rateCell(countsWithKey === undefined ? null : erasing(countsWithKey, 1)),
        valueCell(cost?.seconds, seconds),
        valueCell(cost?.unetEvaluations, number),
      ],
    };
  });
  const others = (published.ABLATIONS[axis] ?? []).map(({ value: setting, rates }): Row => ({
    look: lookOf("kpop"),
    published: true,
    cells: [
      settingCell(setting),
      ...rates.map((rate) => valueCell(rate, percent)),
      ...Array.from({ length: 3 }, () => ({ text: NONE })),
    ],
  }));
  return {
    caption: others.length === 0 ? AXES[axis]! : `${AXES[axis]!} (published: ${published.ABLATIONS_SOURCE})`,
    columns: [
      { title: axis },
      ...rateColumns([1, 5]),
      { title: "ESR-1 % with the key" },
      { title: "Seconds" },
      { title: "UNet evaluations" },
    ],
    rows: [...ours, ...others],
  };
}

function settingCell(of: string | number): { text: string; sort?: number } {
  return typeof of === "number" ? { text: String(of), sort: of } : { text: of };
}

function curves(records: readonly TrialRecord[], axis: string): Figure {
  const trials = along(records, axis);
  const curve = (
    name: string,
    place: number,
    of: (record: TrialRecord) => ReturnType<typeof erasing>,
  ): Curve => ({
    name,
    look: lookAt(place),
    points: trials.flatMap(({ value: setting, record }) => {
      const rate = of(record);
      const x = Number(setting);
      return rate === null ? [] : [{ x, y: rate.value, yRange: [rate.low, rate.high] as const }];
    }),
  });
  const others = (published.ABLATIONS[axis] ?? []).map(({ value: x, rates }) => ({ x: Number(x), rates }));
  const theirs = (name: string, place: number, index: 0 | 2): Curve => ({
    name,
    look: lookAt(place),
    published: true,
    points: others.map(({ x, rates }) => ({ x, y: rates[index]! })),
  });
  const svg = plot(
    [
      curve("ESR-1", 0, ({ counts = [] }) => erasing(counts, 1)),
      curve("PSR-1", 1, ({ counts = [] }) => preserving(counts, 1)),
      curve("ESR-1 with the key", 3, ({ countsWithKey = [] }) => erasing(countsWithKey, 1)),
      ...(others.length === 0 ? [] : [theirs("ESR-1, published", 0, 0), theirs("PSR-1, published", 1, 2)]),
    ].filter(({ points }) => points.length > 0),
    { name: CURVES[axis]!, scale: "log" },
    { name: "%", percent: true },
  );
  return { svg, caption: `${AXES[axis]!}. Bars are 95 % intervals.` };
}

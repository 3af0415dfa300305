import * as published from "../published";
import type { Results, TrialRecord } from "../results";
import { erasing, preserving } from "../statistics";
import type { Block, Row, Section, Table } from "./blocks";
import { NONE, number, percent, rateCell, seconds } from "./format";
import { plot, type Curve } from "./plots";
import { trialsOf } from "./records";

const AXES: Readonly<Record<string, string>> = {
  mechanism: "How the prompt enters",
  k: "Rows k of the prompt",
  layers: "Where the prompt enters",
  lambda: "λ, weight of the recovery loss",
  latents: "Where the noisy latents come from",
  preserve: "Preserved by name",
};
/** Axes along which a curve means something. */
const CURVES: Readonly<Record<string, string>> = { lambda: "λ", k: "k" };

/** Tables 5 and 6 and Figure 5 of the paper, and what the pool of trajectories changes. */
export function ablationsSection(results: Results): Section | null {
  const records = trialsOf(results, "ablations");
  if (records.length === 0) return null;
  const axes = Object.keys(AXES).filter((axis) => along(records, axis).length > 1);
  const figures = axes.flatMap((axis) => (axis in CURVES ? [curves(records, axis)] : []));
  const blocks: Block[] = [
    {
      kind: "text",
      text:
        `KPOP on split ${records[0]!.spec.split} with one option changed at a time from what the other trials use, ` +
        `${records[0]!.spec.imagesPerClass} pictures a class. "With the key" is ESR-1 once the key is put to the prompts: lower means more is brought back.`,
    },
    ...(figures.length === 0 ? [] : [{ kind: "figures", figures } as const]),
    ...axes.map((axis) => ({ kind: "table", table: table(records, axis) }) as const),
    ...(axes.includes("lambda") ? [{ kind: "text", text: published.LAMBDA_NOTE } as const] : []),
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

function table(records: readonly TrialRecord[], axis: string): Table {
  const ours = along(records, axis).map(({ value: setting, record }): Row => {
    const { spec, counts = [], countsWithKey, cost } = record;
    const rates = [erasing(counts, 1), erasing(counts, 5), preserving(counts, 1), preserving(counts, 5)];
    const recovered = countsWithKey === undefined ? null : erasing(countsWithKey, 1);
    return {
      method: spec.method,
      cells: [
        valueCell(setting),
        ...rates.map(rateCell),
        rateCell(recovered),
        { text: cost === undefined ? NONE : seconds(cost.seconds), sort: cost?.seconds ?? 0 },
        { text: cost === undefined ? NONE : number(cost.unetEvaluations), sort: cost?.unetEvaluations ?? 0 },
      ],
    };
  });
  const others = (published.ABLATIONS[axis] ?? []).map(({ value: setting, rates }): Row => ({
    method: "kpop",
    published: true,
    cells: [
      valueCell(setting),
      ...rates.map((rate) => ({ text: percent(rate), ...(rate === null ? {} : { sort: rate }) })),
      ...Array.from({ length: 3 }, () => ({ text: NONE })),
    ],
  }));
  return {
    caption: others.length === 0 ? AXES[axis]! : `${AXES[axis]!} (published: ${published.ABLATIONS_SOURCE})`,
    columns: [
      { title: axis },
      { title: "ESR-1 %" },
      { title: "ESR-5 %" },
      { title: "PSR-1 %" },
      { title: "PSR-5 %" },
      { title: "ESR-1 % with the key" },
      { title: "Seconds" },
      { title: "UNet evaluations" },
    ],
    rows: [...ours, ...others],
  };
}

function valueCell(of: string | number): { text: string; sort?: number } {
  return typeof of === "number" ? { text: String(of), sort: of } : { text: of };
}

function curves(records: readonly TrialRecord[], axis: string): { svg: string; caption: string } {
  const trials = along(records, axis);
  const curve = (
    name: string,
    colour: string,
    of: (record: TrialRecord) => ReturnType<typeof erasing>,
  ): Curve => ({
    name,
    colour,
    points: trials.flatMap(({ value: setting, record }) => {
      const rate = of(record);
      const x = Number(setting);
      return rate === null ? [] : [{ x, y: rate.value, yRange: [rate.low, rate.high] as const }];
    }),
  });
  const others = (published.ABLATIONS[axis] ?? []).map(({ value: x, rates }) => ({ x: Number(x), rates }));
  const theirs = (name: string, colour: string, index: 0 | 2): Curve => ({
    name,
    colour,
    published: true,
    points: others.map(({ x, rates }) => ({ x, y: rates[index]! })),
  });
  const svg = plot(
    [
      curve("ESR-1", "kpop", ({ counts = [] }) => erasing(counts, 1)),
      curve("PSR-1", "esd", ({ counts = [] }) => preserving(counts, 1)),
      curve("ESR-1 with the key", "ca", ({ countsWithKey = [] }) => erasing(countsWithKey, 1)),
      ...(others.length === 0
        ? []
        : [theirs("ESR-1, published", "kpop", 0), theirs("PSR-1, published", "esd", 2)]),
    ].filter(({ points }) => points.length > 0),
    { name: CURVES[axis]!, scale: "log" },
    { name: "%", percent: true },
  );
  return { svg, caption: `${AXES[axis]!}. Bars are 95 % intervals.` };
}

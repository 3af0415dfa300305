import type { Figure, Row, Section, Table } from "../../lib/internal";
import { figures, list, number, percent, plot, table, text, valueCell } from "../../lib/internal";
import { ATTACK_NAMES, attackNamed } from "../../lib/internal";
import { byKind, keepsNeighbours, methodOf, titleOf } from "../entrants";
import type { AttackFigures, Results, TrialRecord } from "../results";
import { ORIGINAL } from "../results";
import { preserving, rate, type Rate } from "../statistics";
import { KIND_COLUMN, kindCell, methodCell, rateCell } from "./format";
import { frontier } from "./frontier";
import { trialsOf } from "./records";
import { leading } from "./standing";
import { lookOf } from "./looks";

/** Attacks on pictures one by one, each on its own seed. */
const BY_PICTURES: readonly string[] = ["tina", "unlearn-diff"];
const BY_BANDS = "diverse-inversion";
/** Cosine with the name's own embedding up to which an input counts as far from it. */
const FAR = 0.2;

/** How far an erased concept comes back under attacks. */
export function robustnessSection(results: Results): Section | null {
  const records = attacked(results);
  if (records.length === 0) return null;
  const blocks = [
    text(
      `"${records[0]!.spec.label}" alone is erased, then inputs are looked for that bring it back: the share of their pictures that the classifier takes for it. ` +
        `"Plain name" is the same without an attack. A dash: the attack is not for this method. "Withstood" are the pictures ` +
        `that don't show it under the attack that brings most back; a search for a key and what changes weights are left out.`,
    ),
    list([...verdict(records), ...robustnessStanding(results)]),
    table(shares(records)),
    figures([...againstPreserving(records), ...bandCurves(records)]),
    table(budget(records)),
  ];
  return { id: "robustness", title: "Under attack", blocks };
}

function attacked(results: Results): TrialRecord[] {
  const records = trialsOf(results, "robustness").filter(({ attacks = [] }) => attacks.length > 0);
  const methods = byKind([...new Set(records.map(({ spec }) => spec.method))]);
  return methods.flatMap((method) => records.filter(({ spec }) => spec.method === method));
}

/** What tells an attack of these trials from the others. */
function idOf({ attack, label }: AttackFigures): string {
  return label === undefined ? attack : `${attack} ${label}`;
}

/** The name that its paper gives an attack, and its label. */
function attackTitle({ attack, label }: AttackFigures): string {
  const title = ATTACK_NAMES.includes(attack) ? attackNamed(attack).title : attack;
  return label === undefined ? title : `${title}, ${label}`;
}

/** The attacks of some trials, each once. */
function attacksIn(records: readonly TrialRecord[]): AttackFigures[] {
  const all = records.flatMap(({ attacks = [] }) => attacks);
  return [...new Map(all.map((one) => [idOf(one), one])).values()];
}

function of(record: TrialRecord, id: string): AttackFigures | undefined {
  return record.attacks?.find((found) => idOf(found) === id);
}

/** Pictures without the concept under the attack that brings most of it back; null where only a key was looked for. */
function withstood({ attacks = [] }: Pick<TrialRecord, "attacks">): Rate | null {
  const rates = attacks
    .filter(({ attack, apart = attack === "key-search" }) => !apart)
    .map(({ after: { hits, total } }) => rate(total - hits, total));
  return rates.reduce<Rate | null>(
    (least, one) => (least !== null && least.value <= one.value ? least : one),
    null,
  );
}

/** Who withstands its strongest attack, among rows that all keep neighbours, or all keep none. */
export function robustnessStanding(results: Results): string[] {
  const records = attacked(results).filter(({ spec }) => spec.method !== ORIGINAL);
  return [false, true].flatMap((neighbours) => {
    const named = records.flatMap((record) => {
      const held = withstood(record);
      const { method } = record.spec;
      return held === null || keepsNeighbours(method) !== neighbours
        ? []
        : [{ name: titleOf(methodOf(method)), rate: held }];
    });
    const rows = neighbours ? "Of the rows with neighbours" : "Of the rows as published";
    return leading(`${rows}, what withstands its strongest attack`, named) ?? [];
  });
}

/** Robustness over preservation, of the attacked models themselves. */
function againstPreserving(records: readonly TrialRecord[]): Figure[] {
  const places = records.flatMap(({ spec: { method }, counts = [], ...record }) => {
    const [held, preserved] = [withstood(record), preserving(counts, 1)];
    return held === null || preserved === null || method === ORIGINAL
      ? []
      : [{ method, rate: held, preserved }];
  });
  return frontier(
    places,
    "withstood %",
    "Withstanding the strongest attack against preserving the other classes, one concept erased",
  );
}

function shares(records: readonly TrialRecord[]): Table {
  const attacks = attacksIn(records);
  return {
    caption: "Share of pictures that show the erased concept, %",
    columns: [
      { title: "Method" },
      KIND_COLUMN,
      { title: "Plain name" },
      ...attacks.map((one) => ({ title: attackTitle(one) })),
      { title: "Withstood %", help: "Under the attack that brings most back; higher is better" },
      { title: "PSR-1 %", help: "Pictures of the other classes whose class is the most likely" },
    ],
    rows: records.map((record): Row => {
      // Attacks that are measured on seeds of their own have a rate without attack of their own.
      const plain =
        record.attacks!.find(({ attack }) => !BY_PICTURES.includes(attack)) ?? record.attacks![0]!;
      return {
        look: lookOf(record.spec.method),
        cells: [
          methodCell(record.spec.method),
          kindCell(record.spec.method),
          rateCell(rate(plain.before.hits, plain.before.total)),
          ...attacks.map((one) => {
            const found = of(record, idOf(one));
            return rateCell(found === undefined ? null : rate(found.after.hits, found.after.total));
          }),
          rateCell(withstood(record)),
          rateCell(preserving(record.counts ?? [], 1)),
        ],
      };
    }),
  };
}

function budget(records: readonly TrialRecord[]): Table {
  const attacks = attacksIn(records);
  return {
    caption: "UNet evaluations that each search took (Ring-A-Bell needs the text encoder alone)",
    columns: [{ title: "Method" }, ...attacks.map((one) => ({ title: attackTitle(one) }))],
    rows: records.map((record) => ({
      look: lookOf(record.spec.method),
      cells: [
        methodCell(record.spec.method),
        ...attacks.map((one) => valueCell(of(record, idOf(one))?.unetEvaluations, number)),
      ],
    })),
  };
}

/** Success by how near the name inputs are held. */
function bandCurves(records: readonly TrialRecord[]): Figure[] {
  const curves = records.flatMap((record) => {
    const inputs = of(record, BY_BANDS)?.inputs ?? [];
    const points = inputs.flatMap(({ band, hits, total }) => {
      if (band === undefined) return [];
      const { value, low, high } = rate(hits, total);
      return [{ x: (band[0] + band[1]) / 2, y: value, yRange: [low, high] as const }];
    });
    const { method } = record.spec;
    return points.length < 2 ? [] : [{ name: titleOf(method), look: lookOf(method), points }];
  });
  if (curves.length === 0) return [];
  const svg = plot(curves, { name: "cosine with the name's embedding" }, { name: "% shown", percent: true });
  return [{ svg, caption: "Diverse Inversion by band: at its middle. Bars are 95 % intervals." }];
}

/** What the figures say of the claim that task vectors hold far from the name where other erasures do not. */
function verdict(records: readonly TrialRecord[]): string[] {
  const far = records.flatMap((record) => {
    const inputs = (of(record, BY_BANDS)?.inputs ?? []).filter(
      ({ band }) => band !== undefined && band[1] <= FAR,
    );
    if (inputs.length === 0) return [];
    const sum = (key: "hits" | "total"): number => inputs.reduce((all, input) => all + input[key], 0);
    return [{ method: record.spec.method, rate: rate(sum("hits"), sum("total")) }];
  });
  const vectors = far.find(({ method }) => method === "task-vector");
  if (vectors === undefined) return [];
  const shown = (one: (typeof far)[number]): string =>
    `${titleOf(one.method)} ${percent(one.rate.value)} % (${percent(one.rate.low)}–${percent(one.rate.high)})`;
  const rivals = far.filter(({ method }) => method !== "task-vector" && method !== ORIGINAL);
  const above = rivals.filter(({ rate: theirs }) => theirs.low > vectors.rate.high);
  const below = rivals.filter(({ rate: theirs }) => theirs.high < vectors.rate.low);
  const names = (methods: typeof rivals): string => methods.map(({ method }) => titleOf(method)).join(", ");
  return [
    `Inputs far from the name (cosine up to ${FAR}) bring the concept back in: ${far.map(shown).join(", ")}.`,
    above.length === rivals.length && rivals.length > 0
      ? "The claim that task vectors hold far from the name where erasures that depend on the prompt do not is borne out here, against each of them."
      : `The claim that task vectors hold far from the name where erasures that depend on the prompt do not is ${above.length === 0 ? "not borne out here" : `borne out here against ${names(above)}, not against the others`}` +
        `${below.length === 0 ? "" : `; ${names(below)} hold${below.length === 1 ? "s" : ""} better`}.`,
  ];
}

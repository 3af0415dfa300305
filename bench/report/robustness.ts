import { titleOf } from "../entrants";
import type { AttackFigures, Results, TrialRecord } from "../results";
import { ORIGINAL } from "../results";
import { rate } from "../statistics";
import { figures, list, table, text, type Figure, type Row, type Section, type Table } from "./blocks";
import { methodCell, number, percent, rateCell, valueCell } from "./format";
import { plot } from "./plots";
import { trialsOf } from "./records";

/** Attacks by the names that papers give them. */
const ATTACKS: Readonly<Record<string, string>> = {
  "concept-inversion": "Concept inversion",
  "diverse-inversion": "Diverse Inversion",
  "ring-a-bell": "Ring-A-Bell",
  tina: "TINA",
  "unlearn-diff": "UnlearnDiffAtk",
  "key-search": "Key search",
};
const attackTitle = (name: string): string => ATTACKS[name] ?? name;
/** Attacks on pictures one by one, each on its own seed. */
const BY_PICTURES: readonly string[] = ["tina", "unlearn-diff"];
const BY_BANDS = "diverse-inversion";
/** Cosine with the name's own embedding up to which an input counts as far from it. */
const FAR = 0.2;

/** How far an erased concept comes back under attacks. */
export function robustnessSection(results: Results): Section | null {
  const records = trialsOf(results, "robustness").filter(({ attacks = [] }) => attacks.length > 0);
  if (records.length === 0) return null;
  const blocks = [
    text(
      `"${records[0]!.spec.label}" alone is erased, then inputs are looked for that bring it back: the share of their pictures that the classifier takes for it. ` +
        `"Plain name" is the same without an attack. A dash: the attack is not for this method.`,
    ),
    list(verdict(records)),
    table(shares(records)),
    figures(bandCurves(records)),
    table(budget(records)),
  ];
  return { id: "robustness", title: "Under attack", blocks };
}

function attacksIn(records: readonly TrialRecord[]): string[] {
  return [...new Set(records.flatMap(({ attacks = [] }) => attacks.map(({ attack }) => attack)))];
}

function of(record: TrialRecord, attack: string): AttackFigures | undefined {
  return record.attacks?.find((found) => found.attack === attack);
}

function shares(records: readonly TrialRecord[]): Table {
  const attacks = attacksIn(records);
  return {
    caption: "Share of pictures that show the erased concept, %",
    columns: [
      { title: "Method" },
      { title: "Plain name" },
      ...attacks.map((name) => ({ title: attackTitle(name) })),
    ],
    rows: records.map((record): Row => {
      // Attacks that are measured on seeds of their own have a rate without attack of their own.
      const plain =
        record.attacks!.find(({ attack }) => !BY_PICTURES.includes(attack)) ?? record.attacks![0]!;
      return {
        method: record.spec.method,
        cells: [
          methodCell(record.spec.method),
          rateCell(rate(plain.before.hits, plain.before.total)),
          ...attacks.map((name) => {
            const found = of(record, name);
            return rateCell(found === undefined ? null : rate(found.after.hits, found.after.total));
          }),
        ],
      };
    }),
  };
}

function budget(records: readonly TrialRecord[]): Table {
  const attacks = attacksIn(records);
  return {
    caption: "UNet evaluations that each search took (Ring-A-Bell needs the text encoder alone)",
    columns: [{ title: "Method" }, ...attacks.map((name) => ({ title: attackTitle(name) }))],
    rows: records.map((record) => ({
      method: record.spec.method,
      cells: [
        methodCell(record.spec.method),
        ...attacks.map((name) => valueCell(of(record, name)?.unetEvaluations, number)),
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
    return points.length < 2 ? [] : [{ name: titleOf(method), look: method, points }];
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

import type { Row, Section, Table } from "../../lib/internal";
import { list, percent, seconds, table, text, valueCell } from "../../lib/internal";
import { defaultsOf, methodOf, titleOf } from "../entrants";
import type { Results, TrialRecord } from "../results";
import { erasing, mean, pooled, preserving, recovering, type PooledRate } from "../statistics";
import { rateCell } from "./format";
import { trialsOf } from "./records";
import { leading } from "./standing";
import { lookOf } from "./looks";

/** What a kind of key does to models of one or of several erased concepts. */
interface KeyFigures {
  method: string;
  /** "free rows, neighbours kept". */
  kind: string;
  /** What was erased: a concept's name, or how many at once. */
  concepts: string;
  several: boolean;
  /** Erased classes that show something else without the key, and other classes that are still there. */
  gone: PooledRate | null;
  kept: PooledRate | null;
  /** Erased classes that are back with the key, and other classes that are still there with it. */
  back: PooledRate | null;
  unharmed: PooledRate | null;
  seconds: readonly number[];
}

/** Trials whose model has a key. */
function keyed(results: Results, experiment: "objects" | "key"): TrialRecord[] {
  return trialsOf(results, experiment).filter(({ countsWithKey }) => countsWithKey !== undefined);
}

function kindOfKey({ options, method }: TrialRecord["spec"]): string {
  const form = (of: unknown): unknown => (of as { form?: string } | undefined)?.form;
  const shape = form(options["prompt"]) ?? form(defaultsOf(methodOf(method))["prompt"]);
  const kept = options["neighbours"] === "off" ? "nothing kept" : "neighbours kept";
  return `${shape === "free" ? "free rows" : "amortised"}, ${kept}`;
}

/** The keys of the objects' trials and those of one concept, pooled over splits, by what they are and open. */
export function keyFigures(results: Results): KeyFigures[] {
  const groups = new Map<string, TrialRecord[]>();
  for (const record of [...keyed(results, "key"), ...keyed(results, "objects")]) {
    const { spec } = record;
    const id = `${kindOfKey(spec)} ${spec.erased.length === 1 ? "one" : "several"}`;
    groups.set(id, [...(groups.get(id) ?? []), record]);
  }
  return [...groups.values()].map((records) => {
    const { spec } = records[0]!;
    const over = (of: typeof erasing, from: "counts" | "countsWithKey"): PooledRate | null =>
      pooled(records.map((record) => of(record[from] ?? [], 1)));
    const splits = records.map((record) => record.spec.split).join(", ");
    const several = spec.erased.length > 1;
    return {
      method: spec.method,
      kind: kindOfKey(spec),
      concepts: several ? `${spec.erased.length} at once (${splits})` : spec.erased.join(),
      several,
      gone: over(erasing, "counts"),
      kept: over(preserving, "counts"),
      back: over(recovering, "countsWithKey"),
      unharmed: over(preserving, "countsWithKey"),
      seconds: records.flatMap(({ cost }) => cost?.seconds ?? []),
    };
  });
}

/** Which key leads in what, of one concept and of several. */
export function keyStanding(all: readonly KeyFigures[]): string[] {
  return [false, true].flatMap((several) => {
    const some = all.filter((one) => one.several === several);
    const of = (rate: "back" | "unharmed", what: string): string | null =>
      leading(
        `Of ${several ? "several concepts" : "one concept"}, ${what}`,
        // Nothing is back that was never gone.
        some.flatMap((one) => {
          const name = `${one.kind} (${percent(one.gone?.value)} % gone without it)`;
          return one[rate] === null ? [] : [{ name, rate: one[rate] }];
        }),
      );
    return [of("back", "what the key brings back"), of("unharmed", "what stays under it")].filter(
      (sentence) => sentence !== null,
    );
  });
}

/** The key's own table, and the splits: how much of the concept it brings back, and what it does to the rest. */
export function recoverySection(results: Results): Section | null {
  const all = keyFigures(results);
  if (all.length === 0) return null;
  const standing = keyStanding(all);
  return {
    id: "recovery",
    title: "The key",
    blocks: [
      text(
        "With its key an erased model is to draw the concept again, and all else as without it. The key is put to the " +
          "prompts of the erased classes, a free one of several concepts each with its own concept's part, and to the other " +
          "classes' prompts, with the first concept's part: a key that leaves those alone is selective. A free key is the " +
          "same for every text, an amortised one a function of it.",
      ),
      table(keyTable(all)),
      ...(standing.length === 0 ? [] : [list(standing)]),
      table(bySplit(results)),
    ],
  };
}

function keyTable(all: readonly KeyFigures[]): Table {
  return {
    caption: "What a key opens, and what it leaves alone",
    columns: [
      { title: "Key" },
      { title: "Erased" },
      { title: "Gone without it %", help: "ESR-1: higher is better" },
      { title: "Back with it %", help: "Pictures of erased classes that show their class: higher is better" },
      { title: "Others kept %", help: "PSR-1 without the key" },
      { title: "Others kept under it %", help: "PSR-1 with the key put to their prompts: higher is better" },
      { title: "Seconds", help: "Of one erasure" },
    ],
    rows: [...all]
      .sort((a, b) => Number(a.several) - Number(b.several))
      .map((one): Row => ({
        look: lookOf(one.method),
        cells: [
          { text: one.kind },
          { text: one.concepts },
          ...[one.gone, one.back, one.kept, one.unharmed].map(rateCell),
          valueCell(one.seconds.length === 0 ? null : mean(one.seconds), seconds),
        ],
      })),
  };
}

function bySplit(results: Results): Table {
  return {
    caption: "With and without the key, split by split",
    columns: [
      { title: "Method and split" },
      { title: "ESR-1 %", help: "Without the key: higher is better" },
      { title: "ESR-1 % with the key", help: "Lower is better: the class is back" },
      { title: "PSR-1 %", help: "Other classes, without the key" },
      { title: "PSR-1 % with the key", help: "Other classes' prompts with a key put to them" },
    ],
    rows: keyed(results, "objects").map(({ spec, counts = [], countsWithKey = [] }) => {
      const rates = [counts, countsWithKey].flatMap((of) => [erasing(of, 1), preserving(of, 1)]);
      return {
        look: lookOf(spec.method),
        cells: [
          { text: `${titleOf(spec.method)}, ${spec.split}` },
          ...[rates[0]!, rates[2]!, rates[1]!, rates[3]!].map(rateCell),
        ],
      };
    }),
  };
}

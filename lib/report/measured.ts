import { basename } from "node:path";
import type { ClassEvaluation } from "../evaluation/summarize";
import { fillTemplate } from "../evaluation/template";
import { attackTitle } from "./attacks";
import type { ReportedModel } from "./models";
import { grid, table, text, type Block, type Cell, type Column, type Figure, type GridRow, type Section, type Shot, type Tile } from "./page/blocks"; // prettier-ignore
import { intervalCell, NONE, number, percent } from "./page/format";
import type { Look } from "./page/palette";
import { overPreserving, type Curve } from "./page/plots";
import type { PictureReader } from "./pictures";
import type { EvaluationSource } from "./sources";

/** One evaluation, by what the page calls its model, with a key or without. */
interface Measured {
  title: string;
  look: Look;
  withKey: boolean;
  source: EvaluationSource;
}

/** All evaluations, model by model, those without a key first. */
export function measuredOf(models: readonly ReportedModel[]): Measured[] {
  return models.flatMap(({ title, look, plain, keyed }) =>
    [...plain, ...keyed].map((source) => ({
      title: source.withKey ? `${title} + key` : title,
      ...{ look, withKey: source.withKey, source },
    })),
  );
}

/** Where a figure is known, at what it is and between what it lies; JSON has null for what is not finite. */
interface Known {
  value: number;
  low: number | null;
  high: number | null;
}

function rateCell(rate: Known | undefined, scale = 100): Cell {
  if (rate === undefined) return { text: NONE };
  const { value, low, high } = rate;
  if (low === null || high === null) return { text: percent(scale * value), sort: scale * value };
  return intervalCell({ value: scale * value, low: scale * low, high: scale * high });
}

function inWords(rate: Known): string {
  const { text: value, note } = rateCell(rate);
  return note === undefined ? `${value} %` : `${value} % (${note})`;
}

/** What stands first: the figures of one erasure, large. */
export function summaryTiles(models: readonly ReportedModel[]): Tile[] {
  const [erased, ...others] = models.filter(({ erasure }) => erasure !== null);
  if (erased === undefined || others.length > 0) return [];
  const { look, attacks } = erased;
  const first = (of: ReportedModel | undefined, key: "plain" | "keyed") => of?.[key].at(-1)?.evaluation;
  const [own, keyed] = [first(erased, "plain"), first(erased, "keyed")];
  const before = first(
    models.find((one) => one.look === "original"),
    "plain",
  );
  const than = (rate: Known | undefined): string => (rate === undefined ? "" : `; before ${inWords(rate)}`);
  const tile = (label: string, rate: Known | undefined, what: string, more = ""): Tile[] => {
    if (rate === undefined) return [];
    const { text: value, note } = rateCell(rate);
    return [{ label, value: `${value} %`, note: `${note ?? ""}; ${what}${more}`.replace(/^; /, ""), look }];
  };
  const back = keyed?.esr[1];
  const [worst] = attacks.map(({ attack }) => attack).sort((a, b) => b.after.value - a.after.value);
  return [
    ...tile("Gone", own?.esr[1], "pictures of what was erased that are not seen as it", than(before?.esr[1])),
    ...tile("Kept", own?.psr[1], "pictures of other classes that are seen as them", than(before?.psr[1])),
    ...tile(
      "Back with the key",
      back && { value: 1 - back.value, low: 1 - back.high, high: 1 - back.low },
      "pictures of what was erased that are seen as it",
    ),
    ...tile("Back under attack", worst?.after, worst === undefined ? "" : `${attackTitle(worst.method)}; by its plain name ${inWords(worst.before)}`), // prettier-ignore
  ];
}

/** Rates of every model, and how they stand to each other. */
export function ratesSection(all: readonly Measured[], tiles: readonly Tile[]): Section | null {
  if (all.length === 0) return tiles.length === 0 ? null : { id: "rates", title: "In short", blocks: [{ kind: "tiles", tiles }] }; // prettier-ignore
  const ks = [...new Set(all.flatMap(({ source: { evaluation } }) => Object.keys({ ...evaluation.esr, ...evaluation.psr })))].sort((a, b) => Number(a) - Number(b)); // prettier-ignore
  const scored = all.some(({ source }) => source.evaluation.clipScore !== undefined);
  const columns: Column[] = [
    { title: "Model" },
    ...ks.map((k) => ({
      title: `ESR-${k} %`,
      help: `Pictures of erased classes whose class is not among the first ${k}; of an erased model higher is better, with its key lower`,
    })),
    ...ks.map((k) => ({
      title: `PSR-${k} %`,
      help: `Pictures of other classes whose class is among the first ${k}; higher is better`,
    })),
    ...(scored ? [{ title: "CLIP, erased" }, { title: "CLIP, kept" }] : []),
    { title: "Pictures" },
  ];
  const blocks: Block[] = [
    ...(tiles.length === 0 ? [] : [{ kind: "tiles" as const, tiles }]),
    table({
      caption: "Erased and kept, with 95 % intervals",
      columns,
      rows: all.map(({ title, look, source: { evaluation } }) => ({
        look,
        cells: [
          { text: title },
          ...ks.map((k) => rateCell(evaluation.esr[Number(k)])),
          ...ks.map((k) => rateCell(evaluation.psr[Number(k)])),
          ...(scored ? [rateCell(evaluation.clipScore?.erased, 1), rateCell(evaluation.clipScore?.preserved, 1)] : []), // prettier-ignore
          { text: String(evaluation.images), sort: evaluation.images },
        ],
      })),
    }),
    { kind: "figures", figures: tradeOffFigure(all) },
    ...otherMeasures(all),
    text(conditions(all)),
  ];
  return { id: "rates", title: "In short", blocks };
}

function tradeOffFigure(all: readonly Measured[]): Figure[] {
  const curves = all.flatMap(({ title, look, withKey, source: { evaluation } }): Curve[] => {
    const [erased, kept] = [evaluation.esr[1], evaluation.psr[1]];
    if (erased === undefined || kept === undefined || withKey) return [];
    const range = ({ low, high }: Known) => [100 * low!, 100 * high!] as const;
    const point = { x: 100 * kept.value, y: 100 * erased.value, xRange: range(kept), yRange: range(erased) };
    return [{ name: title, look, loose: true, points: [point] }];
  });
  if (curves.length < 2) return [];
  const caption =
    "Up and to the right is better: what was to go is gone, all else is there. Crosses are 95 % intervals.";
  return [{ svg: overPreserving(curves, "erased, ESR-1 %"), caption }];
}

/** How pictures were drawn and named, and whether in the same way. */
function conditions(all: readonly Measured[]): string {
  const unique = (of: (one: Measured) => string): string[] => [...new Set(all.map(of))];
  const drawings = unique(({ source }) => source.drawing);
  const judges = unique(({ source: { evaluation } }) =>
    [
      `the classifier ${basename(evaluation.classifier.origin)}`,
      ...(evaluation.clip === undefined ? [] : [`scores by the CLIP ${basename(evaluation.clip.origin)}`]),
    ].join(", "),
  );
  const caution =
    drawings.length + judges.length > 2 ? " These differ, so figures are not comparable throughout." : "";
  return `Pictures: ${drawings.join("; ")}. Named by ${judges.join("; ")}.${caution}`;
}

/** Members of a result that have places of their own on the page, or none. */
// UA is ESR-1, and IRA PSR-1.
const PLACED = ["classes", "esr", "psr", "accuracy", "clipScore", "crossClassifier", "classifier", "clip", "pictures", "images", "generated", "directory", "seconds", "command"]; // prettier-ignore

/** What else was measured, by the names that results have for it. */
function otherMeasures(all: readonly Measured[]): Block[] {
  const values = all.map(({ source }) => {
    const others = Object.entries(source.evaluation).filter(([name]) => !PLACED.includes(name));
    return new Map(others.flatMap(([name, value]) => leavesOf(value, name === "metrics" ? [] : [name])));
  });
  const names = [...new Set(values.flatMap((of) => [...of.keys()]))];
  if (names.length === 0) return [];
  return [
    table({
      caption: "Other measures",
      columns: [{ title: "Measure" }, ...all.map(({ title }) => ({ title }))],
      rows: names.map((name) => ({
        cells: [{ text: name }, ...values.map((of) => of.get(name) ?? { text: NONE })],
      })),
    }),
  ];
}

/** The figures in a value, each with its name and its interval where it has one. */
function leavesOf(value: unknown, path: readonly string[]): [string, Cell][] {
  if (typeof value === "number") return [[path.join(" "), { text: number(value), sort: value }]];
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  const { value: own, low, high } = value as Record<string, unknown>;
  if (typeof own !== "number")
    return path.length > 3
      ? []
      : Object.entries(value).flatMap(([name, one]) => leavesOf(one, [...path, name]));
  const known = typeof low === "number" && typeof high === "number";
  const note = known ? { note: `${number(low)}–${number(high)}` } : {};
  return [[path.join(" "), { text: number(own), sort: own, ...note }]];
}

/** The same noise in a row: before, after, and with the key. @param count pictures of each class */
export async function picturesSection(
  all: readonly Measured[],
  count: number,
  reader: PictureReader,
): Promise<Section | null> {
  const titles = [...new Set(all.map(({ title }) => title))];
  const columns = titles.map((title) => all.filter((one) => one.title === title));
  const classes = new Map<string, { group: string; seeds: Set<number> }>();
  for (const { source } of all)
    for (const { class: name, seed } of source.evaluation.pictures) {
      const group = source.evaluation.classes.find((one) => one.name === name)!.group;
      const known = classes.get(name) ?? { group, seeds: new Set() };
      // What one evaluation calls erased is erased, whatever the others looked for.
      if (group === "erased") known.group = group;
      classes.set(name, { ...known, seeds: known.seeds.add(seed) });
    }
  const rows = new Map<string, GridRow[]>([["erased", []], ["preserved", []]]); // prettier-ignore
  for (const [name, { group, seeds }] of classes)
    for (const seed of [...seeds].sort((a, b) => a - b).slice(0, count)) {
      const pictures: (Shot | null)[] = [];
      for (const column of columns) pictures.push(await shotOf(column, name, seed, group, reader));
      const row = { prompt: name, note: `seed ${seed}`, keys: { group: GROUPS[group]!, class: name } };
      if (pictures.some((picture) => picture !== null)) rows.get(group)!.push({ ...row, pictures });
    }
  const sections = [...rows].map(([group, own]) => ({ title: GROUPS[group]!, rows: own }));
  if (sections.every((one) => one.rows.length === 0)) return null;
  const gone = reader.missing === 0 ? [] : [text(`${reader.missing} of the pictures are no longer where they were measured.`)]; // prettier-ignore
  return {
    id: "pictures",
    title: "Pictures",
    blocks: [
      text(
        "Each row starts from the same noise. Below a picture stands whether the classifier sees its class first, or on which place it has it; green is as it should be. Press a picture to see its row large.",
      ),
      ...gone,
      grid({
        caption: "Asked for the same, by every model",
        columns: titles,
        looks: columns.map((column) => column[0]!.look),
        sections: sections.filter((one) => one.rows.length > 0),
        filters: [{ key: "group", title: "Show" }, { key: "class", title: "Class" }],
        choose: true,
      }),
    ],
  }; // prettier-ignore
}

const GROUPS: Readonly<Record<string, string>> = { erased: "to go", preserved: "to stay" };

async function shotOf(
  column: readonly Measured[],
  name: string,
  seed: number,
  group: string,
  reader: PictureReader,
): Promise<Shot | null> {
  for (const { source, look, withKey } of column) {
    const picture = source.evaluation.pictures.find((one) => one.class === name && one.seed === seed);
    const png = picture === undefined ? null : await reader.png(source.pictures, picture.path);
    if (picture === undefined || png === null) continue;
    const seen = picture.rank === 1;
    const wanted = group === "preserved" || withKey || look === "original";
    const more =
      picture.clipScore === undefined ? {} : { more: `CLIP score ${picture.clipScore.toFixed(1)}` };
    return { png, note: seen ? "seen" : `place ${picture.rank}`, good: seen === wanted, ...more };
  }
  return null;
}

/** How often each class is seen by each model. */
export function classesSection(all: readonly Measured[]): Section | null {
  const names = [...new Set(all.flatMap(({ source }) => source.evaluation.classes.map(({ name }) => name)))];
  if (names.length === 0) return null;
  const find = ({ source }: Measured, name: string): ClassEvaluation | undefined =>
    source.evaluation.classes.find((one) => one.name === name);
  const seen = (one: ClassEvaluation | undefined): Cell => {
    const rate = one?.rates[1];
    if (rate === undefined) return { text: NONE };
    if (one!.group === "preserved") return rateCell(rate);
    return rateCell({ value: 1 - rate.value, low: 1 - rate.high, high: 1 - rate.low });
  };
  return {
    id: "classes",
    title: "Class by class",
    blocks: [
      table({
        caption: "Pictures in which the class is the most likely, %, with 95 % intervals",
        columns: [
          { title: "Class" },
          { title: "Is", words: true },
          { title: "Asked for as", words: true },
          ...all.map(({ title }) => ({ title })),
        ],
        filters: [{ key: "group", title: "Show" }],
        rows: names.map((name) => {
          const found = all.flatMap((one) => find(one, name) ?? []);
          const group = GROUPS[found.some((one) => one.group === "erased") ? "erased" : "preserved"]!;
          return {
            keys: { group },
            cells: [
              { text: name },
              { text: group },
              { text: found[0]?.prompt ?? fillTemplate("{}", name) },
              ...all.map((one) => seen(find(one, name))),
            ],
          };
        }),
      }),
    ],
  };
}

import { basename } from "node:path";
import { differencesTable } from "./differences";
import { rateCell, type Known, type Measured } from "./measured";
import { leavesOf, measureCell, type Measure } from "./measures";
import { table, text, type Block, type Column, type Figure, type Section, type Tile } from "./page/blocks"; // prettier-ignore
import { NONE, number, rateColumns } from "./page/format";
import { overPreserving, type Curve } from "./page/plots";

/** Rates and measures of every model, and how they stand to each other. */
export function ratesSection(all: readonly Measured[], tiles: readonly Tile[]): Section | null {
  const blocks: Block[] = [
    ...(tiles.length === 0 ? [] : [{ kind: "tiles" as const, tiles }]),
    ...ratesTable(all),
    { kind: "figures", figures: tradeOffFigure(all) },
    ...differencesTable(all),
    ...otherMeasures(all),
    ...(all.length === 0 ? [] : [text(conditions(all))]),
  ];
  return all.length + tiles.length === 0 ? null : { id: "rates", title: "In short", blocks };
}

/** What classifiers and a CLIP say of classes; nothing where pictures have none. */
function ratesTable(all: readonly Measured[]): Block[] {
  const evaluations = all.map(({ source }) => source.evaluation);
  const ks = [...new Set(evaluations.flatMap(({ esr, psr }) => Object.keys({ ...esr, ...psr })))]
    .map(Number)
    .sort((a, b) => a - b);
  const scored = evaluations.some(({ clipScore: of }) => of?.erased !== undefined || of?.preserved !== undefined); // prettier-ignore
  // UA is ESR-1 and IRA PSR-1: they stand where CRA stands beside them.
  const accuracies = evaluations.some(({ accuracy }) => accuracy?.cra !== undefined) ? ACCURACIES : [];
  if (ks.length + accuracies.length === 0 && !scored) return [];
  const columns: Column[] = [
    { title: "Model" },
    ...rateColumns(ks),
    ...accuracies.map(({ title, help }) => ({ title, help })),
    ...(scored ? [{ title: "CLIP, erased" }, { title: "CLIP, kept" }] : []),
    { title: "Pictures" },
  ];
  const rows = all.map(({ label, look, source: { evaluation } }) => ({
    look,
    cells: [
      { text: label },
      ...ks.map((k) => rateCell(evaluation.esr[k])),
      ...ks.map((k) => rateCell(evaluation.psr[k])),
      ...accuracies.map(({ key }) => rateCell(evaluation.accuracy?.[key])),
      ...(scored ? [rateCell(evaluation.clipScore?.erased, 1), rateCell(evaluation.clipScore?.preserved, 1)] : []), // prettier-ignore
      { text: String(evaluation.images), sort: evaluation.images },
    ],
  }));
  return [table({ caption: "Erased and kept, with 95 % intervals", columns, rows })];
}

/** Those of UnlearnCanvas. */
const ACCURACIES = [
  {
    key: "ua",
    title: "UA %",
    help: "Unlearning accuracy: pictures of erased classes that are not taken for them; of an erased model higher is better",
  },
  {
    key: "ira",
    title: "IRA %",
    help: "In-domain retain accuracy: pictures of other classes that are taken for them; higher is better",
  },
  {
    key: "cra",
    title: "CRA %",
    help: "Cross-domain retain accuracy: pictures that are taken for their class of another domain; higher is better",
  },
] as const;

function tradeOffFigure(all: readonly Measured[]): Figure[] {
  const curves = all.flatMap(({ label, look, withKey, source: { evaluation } }): Curve[] => {
    const [erased, kept] = [evaluation.esr[1], evaluation.psr[1]];
    if (erased === undefined || kept === undefined || withKey) return [];
    const range = ({ low, high }: Known) => [100 * low!, 100 * high!] as const;
    const point = { x: 100 * kept.value, y: 100 * erased.value, xRange: range(kept), yRange: range(erased) };
    return [{ name: label, look, loose: true, points: [point] }];
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
  const judges = unique(({ source: { evaluation } }) => {
    const { classifier, crossClassifier, clip } = evaluation;
    const named = [
      ...(classifier === undefined ? [] : [`the classifier ${basename(classifier.origin)}`]),
      ...(crossClassifier === undefined || crossClassifier.origin === classifier?.origin
        ? []
        : [`the classifier ${basename(crossClassifier.origin)} for other domains`]),
      ...(clip === undefined ? [] : [`scores by the CLIP ${basename(clip.origin)}`]),
    ];
    return named.join(", ");
  });
  const named = judges.filter((judge) => judge !== "");
  const caution =
    drawings.length > 1 || judges.length > 1
      ? " These differ, so figures are not comparable throughout."
      : "";
  const by = named.length === 0 ? "" : ` Named by ${named.join("; ")}.`;
  return `Pictures: ${drawings.join("; ")}.${by}${caution}`;
}

/** Members of a result that have places of their own on the page, or none. */
const PLACED = ["classes", "crossClasses", "esr", "psr", "accuracy", "clipScore", "metrics", "crossClassifier", "classifier", "clip", "pictures", "images", "generated", "directory", "seconds", "command"]; // prettier-ignore

/** What else was measured: by a CLIP without classes, by metrics, and whatever a result has in figures. */
function otherMeasures(all: readonly Measured[]): Block[] {
  const found = all.flatMap(({ label, source: { evaluation, measures } }) => {
    const others = Object.entries(evaluation).filter(([name]) => !PLACED.includes(name));
    const clip = evaluation.clipScore?.all;
    const own: Measure[] = [
      ...(clip === undefined ? [] : [{ name: "CLIP score", cell: rateCell(clip, 1) }]),
      ...measures,
      ...others.flatMap(([name, value]) => leavesOf(value, [name])),
    ];
    if (own.length === 0) return [];
    const pictures = { name: "Pictures", cell: measureCell(evaluation.images, number) };
    return [{ label, cells: new Map([pictures, ...own].map(({ name, cell }) => [name, cell])) }];
  });
  if (found.length === 0) return [];
  const names = [...new Set(found.flatMap(({ cells }) => [...cells.keys()]))];
  return [
    table({
      caption: "Measures of all pictures, with 95 % intervals where there are any",
      columns: [{ title: "Measure" }, ...found.map(({ label }) => ({ title: label }))],
      rows: names.map((name) => ({
        cells: [{ text: name }, ...found.map(({ cells }) => cells.get(name) ?? { text: NONE })],
      })),
    }),
  ];
}

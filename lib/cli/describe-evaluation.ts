import type { ClassEvaluation, Comparison, Evaluation, Mean, ModelDifference, Rate } from "../index";
import { allMetrics, type MetricFigure as Figure } from "../internal";
import { duration, plural } from "./format";

/** An evaluation for people: a table for each group of classes. @param model as it was typed */
export function describeEvaluation(model: string, evaluation: Evaluation, resultFile: string): string {
  const { classes, esr, psr, clipScore, images, seconds } = evaluation;
  const of = (group: ClassEvaluation["group"]) => classes.filter((one) => one.group === group);
  return [
    `Evaluated ${model} on ${plural(images, "picture")} in ${duration(seconds)}; percent, with 95 % intervals`,
    ...table("erased", "ESR", of("erased"), esr, clipScore?.erased),
    ...table("preserved", "PSR", of("preserved"), psr, clipScore?.preserved),
    ...list(figuresOf(evaluation)),
    "",
    `result  ${resultFile}`,
  ].join("\n");
}

function table(
  title: string,
  rate: string,
  classes: readonly ClassEvaluation[],
  average: Readonly<Record<number, Rate>>,
  score: Mean | undefined,
): string[] {
  if (classes.length === 0) return [];
  const ks = Object.keys(average).map(Number);
  const rows = [
    [title, ...ks.map((k) => `${rate}-${k}`), ...(score === undefined ? [] : ["CLIP score"])],
    ...classes.map(({ name, rates, clipScore }) => row(name, rates, clipScore)),
    ...(classes.length > 1 ? [row("mean", average, score)] : []),
  ];
  return ["", ...aligned(rows)];

  function row(name: string, rates: Readonly<Record<number, Rate>>, own: Mean | undefined): string[] {
    return [
      name,
      ...ks.map((k) => interval(rates[k]!, 100)),
      ...(own === undefined ? [] : [interval(own, 1)]),
    ];
  }
}

/** Several models for people: their figures side by side, and how each differs from the first. */
export function describeComparison(comparison: Comparison, resultFile: string): string {
  const { models, differences, seconds } = comparison;
  const [first, ...others] = models;
  const figures = models.map((model) => [...meansOf(model), ...figuresOf(model)]);
  const names = [...new Set(figures.flatMap((own) => own.map(({ name }) => name)))];
  const rows = names.map((name) => [
    name,
    ...figures.map((own) => {
      const figure = own.find((one) => one.name === name);
      return figure === undefined ? "" : figureText(figure);
    }),
  ]);
  return [
    `Evaluated ${plural(models.length, "model")} on ${plural(first!.images, "picture")} each in ${duration(seconds)}; percent, with 95 % intervals`,
    "",
    ...aligned([["", ...models.map(({ name }) => name)], ...rows]),
    ...others.flatMap(({ name }) => [
      "",
      `${name} less ${first!.name}, picture by picture`,
      ...aligned(differences.filter(({ model }) => model === name).map(differenceRow)),
    ]),
    "",
    `result  ${resultFile}`,
  ].join("\n");
}

/** The means over classes. */
function meansOf({ esr, psr, clipScore }: Evaluation): Figure[] {
  const rates = (title: string, own: Readonly<Record<number, Rate>>): Figure[] =>
    Object.entries(own).map(([k, value]) => ({ name: `${title}-${k}`, value, percent: true }));
  const score = (name: string, value: Mean | undefined): Figure[] =>
    value === undefined ? [] : [{ name, value }];
  return [
    ...rates("ESR", esr),
    ...rates("PSR", psr),
    ...score("CLIP score of erased", clipScore?.erased),
    ...score("CLIP score of preserved", clipScore?.preserved),
  ];
}

function differenceRow({ measure, onlyFirst, onlySecond, p, ...difference }: ModelDifference): string[] {
  if (p === undefined) return [measure, interval(difference, 1, 2)];
  const apart = `${onlySecond} of ${difference.total} gained, ${onlyFirst} lost`;
  return [measure, interval(difference, 100), apart, `p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`}`];
}

/** Rows of cells, each column as wide as its widest. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const columns = Math.max(0, ...rows.map((cells) => cells.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((cells) => (cells[column] ?? "").length)),
  );
  return rows.map((cells) =>
    cells
      .map((text, i) => text.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
}

/** What is said of all pictures together. */
function figuresOf({ accuracy, crossClasses, clipScore, metrics }: Evaluation): Figure[] {
  const share = (name: string, value: Rate | undefined): Figure[] =>
    value === undefined ? [] : [{ name, value, percent: true }];
  return [
    ...(crossClasses === undefined
      ? []
      : [
          ...share("UA", accuracy?.ua),
          ...share("IRA", accuracy?.ira),
          ...share("CRA", accuracy?.cra),
          ...crossClasses.flatMap((one) => share(`CRA, ${one.name}`, one.accuracy)),
        ]),
    ...(clipScore?.all === undefined ? [] : [{ name: "CLIP score", value: clipScore.all }]),
    ...allMetrics().flatMap((metric) => {
      const result = (metrics as Readonly<Record<string, unknown>> | undefined)?.[metric.name];
      return result === undefined ? [] : metric.figures(result);
    }),
  ];
}

/** A figure with its interval, as tables show it. */
function figureText({ value, percent, digits = 1 }: Figure): string {
  const scale = percent === true ? 100 : 1;
  return typeof value === "number" ? (value * scale).toFixed(digits) : interval(value, scale, digits);
}

function list(figures: readonly Figure[]): string[] {
  if (figures.length === 0) return [];
  return ["", ...aligned(figures.map((figure) => [figure.name, figureText(figure)]))];
}

function interval(
  { value, low, high }: { value: number; low: number; high: number },
  scale: number,
  digits = 1,
): string {
  const text = (share: number) => (share * scale).toFixed(digits);
  return Number.isFinite(low) ? `${text(value)} (${text(low)} to ${text(high)})` : text(value);
}

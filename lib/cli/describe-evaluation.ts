import type { ClassEvaluation, Evaluation, Mean, Rate } from "../index";
import { allMetrics, type Figure } from "../internal";
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
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return [
    "",
    ...rows.map((cells) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    ),
  ];

  function row(name: string, rates: Readonly<Record<number, Rate>>, own: Mean | undefined): string[] {
    return [
      name,
      ...ks.map((k) => interval(rates[k]!, 100)),
      ...(own === undefined ? [] : [interval(own, 1)]),
    ];
  }
}

/** What is said of all pictures together. */
export function figuresOf({ accuracy, crossClasses, clipScore, metrics }: Evaluation): Figure[] {
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
export function figureText({ value, percent, digits = 1 }: Figure): string {
  const scale = percent === true ? 100 : 1;
  return typeof value === "number" ? (value * scale).toFixed(digits) : interval(value, scale, digits);
}

function list(figures: readonly Figure[]): string[] {
  if (figures.length === 0) return [];
  const width = Math.max(...figures.map(({ name }) => name.length));
  return ["", ...figures.map((figure) => `${figure.name.padEnd(width)}  ${figureText(figure)}`)];
}

function interval(
  { value, low, high }: { value: number; low: number; high: number },
  scale: number,
  digits = 1,
): string {
  const text = (share: number) => (share * scale).toFixed(digits);
  return Number.isFinite(low) ? `${text(value)} (${text(low)} to ${text(high)})` : text(value);
}

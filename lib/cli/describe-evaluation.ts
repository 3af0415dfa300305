import type { ClassEvaluation, Evaluation, Mean, Rate } from "../index";
import { duration, plural } from "./format";

/** An evaluation for people: a table for each group of classes. @param model as it was typed */
export function describeEvaluation(model: string, evaluation: Evaluation, resultFile: string): string {
  const { classes, esr, psr, clipScore, images, seconds } = evaluation;
  const of = (group: ClassEvaluation["group"]) => classes.filter((one) => one.group === group);
  return [
    `Evaluated ${model} on ${plural(images, "picture")} in ${duration(seconds)}; percent, with 95 % intervals`,
    ...table("erased", "ESR", of("erased"), esr, clipScore?.erased),
    ...table("preserved", "PSR", of("preserved"), psr, clipScore?.preserved),
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

function interval({ value, low, high }: { value: number; low: number; high: number }, scale: number): string {
  const text = (share: number) => (share * scale).toFixed(1);
  return Number.isFinite(low) ? `${text(value)} (${text(low)} to ${text(high)})` : text(value);
}

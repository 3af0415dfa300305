import type { AttackResult, Rate } from "../index";
import { count, duration } from "./format";

/** An attack for people: what the plain name brings, and what every input found does. @param model as it was typed */
export function describeAttack(model: string, result: AttackResult, directory: string): string {
  const { before, after, original, inputs, concept, method, seconds } = result;
  const rows: [string, string, string][] = [
    ["", "shows it", "of"],
    ...(original === undefined ? [] : [row("original model, plain name", original)]),
    row("plain name", before),
    ...(inputs.length > 1 ? [row("attack", after)] : []),
    ...inputs.map(({ name, band, rate, text }): [string, string, string] => {
      const details = [
        name,
        ...(band === undefined ? [] : [`cosine ${band.join(" to ")}`]),
        ...(text === undefined ? [] : [JSON.stringify(text)]),
      ];
      return row(details.join("  "), rate);
    }),
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return [
    `Attacked ${model} for "${concept}" with ${method} in ${duration(seconds)}; percent of pictures, with 95 % intervals`,
    "",
    ...rows.map((cells) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    ),
    "",
    `The search took ${count(result.unetEvaluations)} UNet evaluations, measuring ${count(result.measuringEvaluations)}`,
    `result  ${directory}`,
  ].join("\n");
}

function row(name: string, { value, low, high, total }: Rate): [string, string, string] {
  const percent = (share: number): string => (share * 100).toFixed(1);
  return [name, `${percent(value)} (${percent(low)} to ${percent(high)})`, count(total)];
}

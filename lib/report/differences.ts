import type { ModelDifference } from "../evaluation/compare-models";
import type { Measured } from "./measured";
import { table, text, type Block, type Cell, type Row } from "./page/blocks";
import { NONE, valueCell } from "./page/format";

/** How models differ from the first of those that they were compared with, picture by picture. */
export function differencesTable(all: readonly Measured[]): Block[] {
  const rows = all.flatMap((one) => {
    const first = all.find(({ source }) => source === one.source.against);
    return first === undefined ? [] : one.source.differences.map((own) => rowOf(one, first, own));
  });
  if (rows.length === 0) return [];
  return [
    table({
      caption: "Picture by picture, with 95 % intervals",
      columns: [
        { title: "Model" },
        { title: "Measure", words: true },
        { title: "Less", words: true, help: "The first of the models that were compared" },
        { title: "Its own" },
        { title: "The first's" },
        { title: "Difference", help: "Of pairs of pictures of the same prompt and seed" },
        { title: "Gained", help: "Pictures that only this model counts" },
        { title: "Lost", help: "Pictures that only the first counts" },
        { title: "p", help: "McNemar's exact test, two-sided, that neither counts more" },
        { title: "Pairs" },
      ],
      filters: [{ key: "model", title: "Model" }, { key: "measure", title: "Measure" }],
      rows,
    }),
    text(
      "Each pair is of one prompt and one seed, so models may well differ where their own intervals overlap. Rates are in percent, their intervals Newcombe's for pairs; no p is corrected for the number of figures.",
    ),
  ]; // prettier-ignore
}

function rowOf(one: Measured, first: Measured, difference: ModelDifference): Row {
  const { measure, low, high, total, onlyFirst, onlySecond, p } = difference;
  const [scale, digits] = p === undefined ? [1, 2] : [100, 1];
  const write = (value: number): string => (scale * value).toFixed(digits);
  const signed = (value: number): string => (write(value).startsWith("-") ? "" : "+") + write(value);
  const known = (low as number | null) !== null && (high as number | null) !== null;
  return {
    look: one.look,
    keys: { model: one.label, measure },
    cells: [
      { text: one.label },
      { text: measure },
      { text: first.title },
      valueCell(difference.second, write),
      valueCell(difference.first, write),
      {
        ...valueCell(difference.value, signed),
        ...(known ? { note: `${signed(low)} to ${signed(high)}` } : {}),
      },
      valueCell(onlySecond, String),
      valueCell(onlyFirst, String),
      p === undefined ? { text: NONE } : probability(p),
      valueCell(total, String),
    ],
  };
}

function probability(p: number): Cell {
  return { text: p < 0.001 ? "< 0.001" : p.toFixed(3), sort: p };
}

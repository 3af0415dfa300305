import type { MethodKind } from "../../lib/index";
import { kindOf, titleOf } from "../entrants";
import type { ClassCount } from "../results";
import { erasing, mean, preserving, type PooledRate, type Rate } from "../statistics";
import type { Cell, Column } from "./blocks";

/** Numbers as people read them; a dash for what was not measured. */
export const NONE = "–";

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : value.toFixed(1);
}

/** A figure as it is written, and by which its column sorts; a dash where there is none. */
export function valueCell(value: number | null | undefined, write: (value: number) => string): Cell {
  return value === null || value === undefined ? { text: NONE } : { text: write(value), sort: value };
}

export function meanCell(values: readonly number[], write: (value: number) => string): Cell {
  return valueCell(values.length === 0 ? null : mean(values), write);
}

export function methodCell(method: string): Cell {
  return { text: titleOf(method) };
}

/** Kinds of methods, as headings have them. */
export const KIND_TITLES: Readonly<Record<MethodKind, string>> = {
  training: "Training",
  "closed form": "Closed form",
  inference: "At inference",
};

/** The column of `kindCell`. */
export const KIND_COLUMN: Column = { title: "Kind", help: "How the method works" };

export function kindCell(method: string): Cell {
  return { text: kindOf(method) ?? NONE };
}

/** A rate with its 95 % interval, and the deviation of the splits where it is pooled from several. */
export function rateCell(rate: Rate | PooledRate | null): Cell {
  if (rate === null) return { text: NONE };
  const deviation = "deviation" in rate ? `, sd ${percent(rate.deviation)}` : "";
  const note = `${percent(rate.low)}–${percent(rate.high)}${deviation}`;
  return { text: percent(rate.value), note, sort: rate.value };
}

/** The columns of `rateCells`. */
export const RATE_COLUMNS: readonly Column[] = [
  {
    title: "ESR-1 %",
    help: "Pictures of erased classes whose class is not the most likely; higher is better",
  },
  { title: "ESR-5 %", help: "The same for the five most likely classes" },
  {
    title: "PSR-1 %",
    help: "Pictures of the other classes whose class is the most likely; higher is better",
  },
  { title: "PSR-5 %", help: "The same for the five most likely classes" },
];

/** What is erased and what is preserved, by the most likely class and by the five most likely. */
export function rateCells(counts: readonly ClassCount[]): Cell[] {
  return [erasing(counts, 1), erasing(counts, 5), preserving(counts, 1), preserving(counts, 5)].map(rateCell);
}

/** 3 figures, without an exponent where it is not needed. */
export function number(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4) return Math.round(value).toLocaleString("en-US");
  if (size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function bytes(value: number): string {
  return value < 2 ** 30 ? `${Math.round(value / 2 ** 20)} MiB` : `${(value / 2 ** 30).toFixed(1)} GiB`;
}

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

/** A value in percent with its 95 % interval. @param more what else there is to say of it, in small */
export function intervalCell(
  { value, low, high }: { value: number; low: number; high: number },
  more = "",
): Cell {
  return { text: percent(value), note: `${percent(low)}–${percent(high)}${more}`, sort: value };
}

/** Columns of erasing success, then of preserving success, by the k most likely classes. */
export function rateColumns(ks: readonly number[]): Column[] {
  const among = (k: number): string => (k === 1 ? "the most likely" : `among the ${k} most likely`);
  return [
    ...ks.map((k) => ({
      title: `ESR-${k} %`,
      help: `Pictures of erased classes whose class is not ${among(k)}; of an erased model higher is better, with its key lower`,
    })),
    ...ks.map((k) => ({
      title: `PSR-${k} %`,
      help: `Pictures of the other classes whose class is ${among(k)}; higher is better`,
    })),
  ];
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

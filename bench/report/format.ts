import type { PooledRate, Rate } from "../statistics";
import type { Cell } from "./blocks";

/** Numbers as people read them; a dash for what was not measured. */
export const NONE = "–";

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : value.toFixed(1);
}

/** A rate with its 95 % interval, and the deviation of the splits where it is pooled from several. */
export function rateCell(rate: Rate | PooledRate | null): Cell {
  if (rate === null) return { text: NONE };
  const deviation = "deviation" in rate ? `, sd ${percent(rate.deviation)}` : "";
  const note = `${percent(rate.low)}–${percent(rate.high)}${deviation}`;
  return { text: percent(rate.value), note, sort: rate.value };
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

const NAMES: Readonly<Record<string, string>> = {
  original: "Original",
  kpop: "KPOP",
  esd: "ESD",
  uce: "UCE",
  ca: "CA",
  mace: "MACE",
  eap: "EAP",
  "task-vector": "Task vector",
};

/** A method's name as the papers write it. */
export function methodTitle(name: string): string {
  return NAMES[name] ?? name;
}

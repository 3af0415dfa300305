import type { MethodKind } from "../../lib/index";
import type { Cell, Column } from "../../lib/internal";
import { intervalCell, NONE, percent, valueCell } from "../../lib/internal";
import { kindOf, titleOf } from "../entrants";
import type { ClassCount } from "../results";
import { erasing, mean, preserving, type PooledRate, type Rate } from "../statistics";

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
  return intervalCell(rate, "deviation" in rate ? `, sd ${percent(rate.deviation)}` : "");
}

/** What is erased and what is preserved, by the most likely class and by the five most likely. */
export function rateCells(counts: readonly ClassCount[]): Cell[] {
  return [erasing(counts, 1), erasing(counts, 5), preserving(counts, 1), preserving(counts, 5)].map(rateCell);
}

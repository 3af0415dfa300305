import { percent } from "../../lib/internal";
import { apart, type Rate } from "../statistics";

/** A rate under the name of what has it. */
export interface Named {
  name: string;
  rate: Rate;
}

/** "KPOP 97.9 % (95.2–99.1)". */
export function withInterval({ name, rate: { value, low, high } }: Named): string {
  return `${name} ${percent(value)} % (${percent(low)}–${percent(high)})`;
}

/**
 * Who leads by 95 % intervals that don't overlap, in one sentence; null where there are not two to compare.
 * @param best whether the highest rate leads, or the lowest
 */
export function leading(
  what: string,
  all: readonly Named[],
  best: "highest" | "lowest" = "highest",
): string | null {
  const sign = best === "highest" ? 1 : -1;
  const [first, ...others] = [...all].sort((a, b) => sign * (b.rate.value - a.rate.value));
  if (first === undefined || others.length === 0) return null;
  const level = others.filter(({ rate }) => apart(first.rate, rate) === 0);
  const behind = others.filter(({ rate }) => apart(first.rate, rate) !== 0);
  const names = (some: readonly Named[]): string => some.map(({ name }) => name).join(", ");
  return (
    `${what}: ${withInterval(first)} is ${best}` +
    (level.length === 0 ? "" : `, level with ${names(level)} (the intervals overlap)`) +
    (behind.length === 0 ? "." : `, ahead of ${names(behind)}.`)
  );
}

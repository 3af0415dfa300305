import { allMetrics } from "../evaluation/metrics";
import { isJsonObject } from "../files/json-file";
import type { Cell } from "./page/blocks";
import { number } from "./page/format";

/** A figure of all pictures. */
export interface Measure {
  name: string;
  cell: Cell;
}

/** What is said of one picture. */
export interface PictureWords {
  text: string;
  /** Whether what was to go is seen in it; only where that is asked. */
  seen?: boolean;
}

type Values = Readonly<Record<string, unknown>>;

/** What results of metrics say, under the names that metrics give it. @throws where they are not of their form */
export function measuresOf(results: object): Measure[] {
  return Object.entries(results as Values).flatMap(([name, result]) => {
    const metric = allMetrics().find((one) => one.name === name);
    if (metric === undefined) return leavesOf(result, [name]);
    return metric.figures(result).map(({ name: title, value, percent = false, digits = 1 }) => {
      const write = (own: number): string => ((percent ? 100 : 1) * own).toFixed(digits);
      return { name: percent ? `${title}, %` : title, cell: measureCell(value, write) };
    });
  });
}

/** What metrics say of a picture. @throws where it is not of its form */
export function wordsOf(notes: object, results: object): PictureWords[] {
  return allMetrics().flatMap(({ name, words }) => {
    const [note, result] = [notes, results].map((of) => (of as Values)[name]);
    return words === undefined || note === undefined || result === undefined ? [] : [words(note, result)];
  });
}

/** The figures in a value, each with its place as its name, and its interval where it has one. */
export function leavesOf(value: unknown, path: readonly string[]): Measure[] {
  const leaf = (own: unknown): Measure[] => [{ name: path.join(" "), cell: measureCell(own, number) }];
  if (typeof value === "number") return leaf(value);
  if (!isJsonObject(value)) return [];
  if (typeof value["value"] === "number") return leaf(value);
  return path.length > 3
    ? []
    : Object.entries(value).flatMap(([name, one]) => leavesOf(one, [...path, name]));
}

/** A number, or one with its interval, which a file has as null where it is not finite. */
export function measureCell(given: unknown, write: (value: number) => string): Cell {
  const { value, low, high } = isJsonObject(given) ? given : { value: given };
  if (typeof value !== "number") throw new TypeError(`${String(value)} is no figure`);
  const known = typeof low === "number" && typeof high === "number";
  const note = known ? { note: `${write(low)}–${write(high)}` } : {};
  return { text: write(value), sort: value, ...note };
}

/**
 * The erasure methods as the benchmark knows them: what the registry's definitions say. A method that is registered takes
 * part when it is asked for by name; one whose definition says what it is run with on pocket is compared by default.
 *
 * A method that changes weights has two rows: under its own name as published, where nothing is kept but what is named,
 * and with `-neighbours` behind it with the nearest words kept beside.
 */
import { defaultsOf as defaultsOfSet, METHOD_NAMES, methodNamed } from "../lib/internal";
import type { MethodKind } from "../lib/index";
import { ORIGINAL } from "./results";

export { METHOD_NAMES };

/** Options of a method, by name. */
export type Options = Readonly<Record<string, unknown>>;

/** What the name of a row with neighbours ends in. */
const KEPT = "-neighbours";

/** Every row that there is, in the registry's order. */
export const ROWS = METHOD_NAMES.flatMap((method) =>
  methodNamed(method).kind === "inference" ? [method] : [method, method + KEPT],
);

/** The rows that are compared by default. */
export const COMPARED = ROWS.filter((row) => entrantOf(row) !== false);

/** The method of a row. */
export function methodOf(row: string): string {
  return keepsNeighbours(row) ? row.slice(0, -KEPT.length) : row;
}

/** Whether a row is the one of its method that keeps neighbours. */
export function keepsNeighbours(row: string): boolean {
  return row.endsWith(KEPT) && ROWS.includes(row);
}

/** What tells a row's erasures from those of its method's other one. */
export function keptBy(row: string): Options {
  if (!ROWS.includes(row) || methodNamed(methodOf(row)).kind === "inference") return {};
  return { neighbours: keepsNeighbours(row) ? "nearest" : "off" };
}

/** What a row's method is run with on pocket; false where its definition says nothing. */
export function entrantOf(row: string): Options | false {
  return ROWS.includes(row) ? methodNamed(methodOf(row)).entrant : false;
}

/** A row's method as the papers write it, and what it keeps. */
export function titleOf(row: string): string {
  if (row === ORIGINAL) return "Original";
  if (!ROWS.includes(row)) return row;
  return methodNamed(methodOf(row)).title + (keepsNeighbours(row) ? " + neighbours" : "");
}

/** How a row's method works; null for the original and for what is not registered. */
export function kindOf(row: string): MethodKind | null {
  return ROWS.includes(row) ? methodNamed(methodOf(row)).kind : null;
}

/** Rows by the kind of their methods, in the order in which kinds come first; what has none stands before. */
export function byKind(rows: readonly string[]): string[] {
  const kinds = [null, ...new Set(METHOD_NAMES.map(kindOf))];
  return kinds.flatMap((kind) => rows.filter((row) => kindOf(row) === kind));
}

/** A method's place in the registry, by which its rows have their colour and shape; null for what is not registered. */
export function placeOf(row: string): number | null {
  const place = METHOD_NAMES.indexOf(methodOf(row));
  return place < 0 ? null : place;
}

/** Every option of a method's own with its default. */
export function defaultsOf(method: string): Options {
  return defaultsOfSet(methodNamed(method).options);
}

/** Those of some options that a row's method has. */
export function knownTo(row: string, options: Options): Options {
  const { options: own } = methodNamed(methodOf(row));
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in own));
}

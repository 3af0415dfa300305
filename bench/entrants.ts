/**
 * The erasure methods as the benchmark knows them: what the registry's definitions say. A method that is registered takes
 * part when it is asked for by name; one whose definition says what it is run with on pocket is compared by default.
 */
import { defaultsOf as defaultsOfSet, METHOD_NAMES, methodNamed } from "../lib/internal";
import { ORIGINAL } from "./results";

export { METHOD_NAMES };

/** Options of a method, by name. */
export type Options = Readonly<Record<string, unknown>>;

/** The methods that are compared by default, in the registry's order. */
export const COMPARED = METHOD_NAMES.filter((method) => entrantOf(method) !== false);

/** What a method is run with on pocket; false where its definition says nothing. */
export function entrantOf(method: string): Options | false {
  return METHOD_NAMES.includes(method) ? methodNamed(method).entrant : false;
}

/** A method's name as the papers write it. */
export function titleOf(method: string): string {
  if (method === ORIGINAL) return "Original";
  return METHOD_NAMES.includes(method) ? methodNamed(method).title : method;
}

/** A method's place in the registry, by which it has its colour and shape; null for what is not registered. */
export function placeOf(method: string): number | null {
  const place = METHOD_NAMES.indexOf(method);
  return place < 0 ? null : place;
}

/** Every option of a method's own with its default. */
export function defaultsOf(method: string): Options {
  return defaultsOfSet(methodNamed(method).options);
}

/** Those of some options that a method has. */
export function knownTo(method: string, options: Options): Options {
  const { options: own } = methodNamed(method);
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in own));
}

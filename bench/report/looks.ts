import type { Look } from "../../lib/internal";
import { keepsNeighbours, placeOf } from "../entrants";
import { ORIGINAL } from "../results";

/** A row's colour, that of its method's place in the registry, and its shape: a row with neighbours has the next one. */
export function lookOf(row: string): Look {
  if (row === ORIGINAL) return "original";
  const place = placeOf(row);
  if (place === null) return "muted";
  return { colour: place, shape: place + (keepsNeighbours(row) ? 1 : 0) };
}

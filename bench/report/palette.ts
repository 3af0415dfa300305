import { keepsNeighbours, placeOf } from "../entrants";
import { ORIGINAL } from "../results";

/** Whose colour and shape something has: a method's, or the n-th of the palette. */
export type Look = string | number;

/** On light paper, and on dark; a method's are those of its place in the registry. */
const COLOURS: readonly (readonly [light: string, dark: string])[] = [
  ["#0b62c4", "#6fb1ff"],
  ["#c2410c", "#ff9152"],
  ["#15803d", "#5fd38a"],
  ["#9333a8", "#dd8cf0"],
  ["#a16207", "#e2b84a"],
  ["#0f766e", "#4fd1c5"],
  ["#be123c", "#ff8fa3"],
  ["#4f46e5", "#a5a3ff"],
  ["#4d7c0f", "#a9d35a"],
  ["#7c4a1e", "#d9a877"],
  ["#475569", "#a9b8cc"],
  ["#db2777", "#ff8ac4"],
];
/** Shapes tell curves apart where colours can't; as many as have no factor in common with the colours. */
const SYMBOLS = ["circle", "diamond", "triangle", "rect", "arrow"];

/** The page's variables, one for each colour. */
export function palette(theme: "light" | "dark"): string {
  const side = theme === "light" ? 0 : 1;
  return COLOURS.map((colours, place) => `--series-${place}: ${colours[side]};`).join(" ");
}

/** A colour as CSS; muted for methods that are not registered. */
export function colourOf(look: Look): string {
  if (look === ORIGINAL) return "var(--original)";
  const place = typeof look === "number" ? look : placeOf(look);
  return place === null ? "var(--muted)" : `var(--series-${place % COLOURS.length})`;
}

/** A shape as the charts' library calls it; a method's row with neighbours has the next one. */
export function symbolOf(look: Look): string {
  if (look === ORIGINAL) return "roundRect";
  const place = typeof look === "number" ? look : placeOf(look);
  const further = typeof look === "string" && keepsNeighbours(look) ? 1 : 0;
  return SYMBOLS[((place ?? 0) + further) % SYMBOLS.length]!;
}

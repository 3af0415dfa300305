/** Whose colour and shape something has: "original" for a model that was left as it is, "muted" for what has none. */
export type Look = "original" | "muted" | { readonly colour: number; readonly shape: number };

/** On light paper, and on dark. */
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

/** The n-th colour and shape. */
export function lookAt(place: number): Look {
  return { colour: place, shape: place };
}

/** The page's variables, one for each colour. */
export function palette(theme: "light" | "dark"): string {
  const side = theme === "light" ? 0 : 1;
  return COLOURS.map((colours, place) => `--series-${place}: ${colours[side]};`).join(" ");
}

/** A colour as CSS. */
export function colourOf(of: Look): string {
  return typeof of === "string" ? `var(--${of})` : `var(--series-${of.colour % COLOURS.length})`;
}

/** A shape as the charts' library calls it. */
export function symbolOf(of: Look): string {
  if (of === "original") return "roundRect";
  return of === "muted" ? SYMBOLS[0]! : SYMBOLS[of.shape % SYMBOLS.length]!;
}

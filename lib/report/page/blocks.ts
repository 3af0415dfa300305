import type { Look } from "./palette";

/** What a section of the report is made of; HTML and Markdown are two ways to write the same blocks. */

export interface Column {
  title: string;
  /** What the figure means, shown on hover and read out. */
  help?: string;
  /** Whether its cells are words, which begin at the left. Default false. */
  words?: boolean;
}

export interface Cell {
  text: string;
  /** Smaller, below the text: an interval. */
  note?: string;
  /** What the column sorts by; the text where it is missing. */
  sort?: number;
}

export interface Row {
  cells: readonly Cell[];
  /** Gives the row its colour. */
  look?: Look;
  /** Others' figures at full size: set apart. */
  published?: boolean;
  /** What filters look at. */
  keys?: Keys;
}

/** Values of a row by the names of filters. */
export type Keys = Readonly<Record<string, string>>;

/** A choice of rows by one of their keys; where rows have but one value, there is none to make. */
export interface Filter {
  key: string;
  title: string;
}

export interface Table {
  caption: string;
  columns: readonly Column[];
  rows: readonly Row[];
  /** Default none. */
  filters?: readonly Filter[];
}

/** An SVG with the sentence that says what to see in it. */
export interface Figure {
  svg: string;
  caption: string;
}

/** Pictures: a row for each prompt, a column for each method. A press on a row shows it large. */
export interface Grid {
  caption: string;
  columns: readonly string[];
  /** Colours of the columns. */
  looks?: readonly Look[];
  sections: readonly { title: string; rows: readonly GridRow[] }[];
  /** Default none. */
  filters?: readonly Filter[];
  /** Whether columns can be left out. Default false. */
  choose?: boolean;
}

export interface GridRow {
  prompt: string;
  /** Gives the prompt its colour. */
  look?: Look;
  /** Smaller, below the prompt. */
  note?: string;
  /** In the order of the columns: PNGs, base64, or those with words; null leaves a place empty. */
  pictures: readonly (string | Shot | null)[];
  /** What filters look at. */
  keys?: Keys;
}

/** A picture with words. */
export interface Shot {
  /** Base64. */
  png: string;
  /** Below it. */
  note: string;
  /** Below that, where it is shown large. */
  more?: string;
  /** Whether it is as it should be; null where nothing says. */
  good: boolean | null;
}

/** One figure, large. */
export interface Tile {
  label: string;
  value: string;
  note: string;
  look?: Look;
}

export type Block =
  | { kind: "text"; text: string }
  | { kind: "list"; items: readonly string[] }
  | { kind: "table"; table: Table }
  | { kind: "figures"; figures: readonly Figure[] }
  | { kind: "grid"; grid: Grid }
  | { kind: "tiles"; tiles: readonly Tile[] }
  | { kind: "facts"; facts: readonly (readonly [name: string, value: string])[] }
  | { kind: "code"; lines: readonly string[] }
  /** Folded until it is asked for. */
  | { kind: "details"; title: string; look?: Look; blocks: readonly Block[] };

export interface Section {
  id: string;
  title: string;
  blocks: readonly Block[];
}

export const text = (of: string): Block => ({ kind: "text", text: of });
export const list = (items: readonly string[]): Block => ({ kind: "list", items });
export const table = (of: Table): Block => ({ kind: "table", table: of });
export const figures = (of: readonly Figure[]): Block => ({ kind: "figures", figures: of });
export const grid = (of: Grid): Block => ({ kind: "grid", grid: of });

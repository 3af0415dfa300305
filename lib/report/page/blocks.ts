import type { Look } from "./palette";

/** What a section of the report is made of; HTML and Markdown are two ways to write the same blocks. */

export interface Column {
  title: string;
  /** What the figure means, shown on hover and read out. */
  help?: string;
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
}

export interface Table {
  caption: string;
  columns: readonly Column[];
  rows: readonly Row[];
}

/** An SVG with the sentence that says what to see in it. */
export interface Figure {
  svg: string;
  caption: string;
}

/** Pictures: a row for each prompt, a column for each method. */
export interface Grid {
  caption: string;
  columns: readonly string[];
  sections: readonly { title: string; rows: readonly GridRow[] }[];
}

export interface GridRow {
  prompt: string;
  /** PNGs, base64, in the order of the columns; null leaves a place empty. */
  pictures: readonly (string | null)[];
}

export type Block =
  | { kind: "text"; text: string }
  | { kind: "list"; items: readonly string[] }
  | { kind: "table"; table: Table }
  | { kind: "figures"; figures: readonly Figure[] }
  | { kind: "grid"; grid: Grid };

export interface Section {
  id: string;
  title: string;
  blocks: readonly Block[];
}

export const text = (of: string): Block => ({ kind: "text", text: of });
export const list = (items: readonly string[]): Block => ({ kind: "list", items });
export const table = (of: Table): Block => ({ kind: "table", table: of });
export const figures = (of: readonly Figure[]): Block => ({ kind: "figures", figures: of });

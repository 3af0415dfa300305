import { Image } from "../lib/index";
import { label } from "./label";

/** One prompt and what was made of it; null leaves a place empty. */
export interface SheetRow {
  readonly prompt: string;
  readonly pictures: readonly (Image | null)[];
}

/** Rows under a title of their own. */
export interface SheetSection {
  readonly title: string;
  readonly rows: readonly SheetRow[];
}

const GAP = 4;
const MARGIN = 12;
const HEADER = 48;
const SECTION = 36;
const NAMES = 330;

/**
 * A table of pictures with its words in it, twice their size: a row for each prompt, in titled sections.
 * @param columns headings, "\n" for a second line
 * @param side width and height of the pictures in pixels
 */
export function sheet(columns: readonly string[], sections: readonly SheetSection[], side: number): Image {
  const cell = 2 * side;
  const width = 2 * MARGIN + NAMES + columns.length * (cell + GAP) - GAP;
  const heights = sections.map(({ rows }) => SECTION + rows.length * (cell + GAP));
  const height = 2 * MARGIN + HEADER + heights.reduce((a, b) => a + b, 0) - GAP;
  const page = new Image(width, height, new Uint8Array(width * height * 3).fill(255));
  const column = (index: number): number => MARGIN + NAMES + index * (cell + GAP);

  let y = MARGIN;
  columns.forEach((heading, index) => paste(page, label(heading, cell, HEADER), column(index), y));
  y += HEADER;
  for (const { title, rows } of sections) {
    paste(page, label(title, width - 2 * MARGIN, SECTION), MARGIN, y);
    y += SECTION;
    for (const { prompt, pictures } of rows) {
      paste(page, label(prompt, NAMES, cell), MARGIN, y);
      pictures.forEach((picture, index) => {
        if (picture !== null) paste(page, doubled(picture), column(index), y);
      });
      y += cell + GAP;
    }
  }
  return page;
}

/** Twice the size, every pixel four times. */
function doubled({ width, height, data }: Image): Image {
  const larger = new Uint8Array(width * height * 12);
  for (let y = 0; y < 2 * height; y++) {
    for (let x = 0; x < 2 * width; x++) {
      const from = ((y >> 1) * width + (x >> 1)) * 3;
      larger.set(data.subarray(from, from + 3), (y * 2 * width + x) * 3);
    }
  }
  return new Image(2 * width, 2 * height, larger);
}

function paste(page: Image, picture: Image, left: number, top: number): void {
  for (let y = 0; y < picture.height; y++) {
    const row = picture.data.subarray(y * picture.width * 3, (y + 1) * picture.width * 3);
    page.data.set(row, ((top + y) * page.width + left) * 3);
  }
}

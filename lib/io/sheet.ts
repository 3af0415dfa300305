import { Image } from "./image";
import { LABEL_ADVANCE, LABEL_LEADING, label } from "./label";

/** One prompt and what was made of it; null leaves a place empty. */
export interface SheetRow {
  readonly prompt: string;
  readonly pictures: readonly (Image | null)[];
}

/** Rows under a title of their own; an empty title takes no room. */
export interface SheetSection {
  readonly title: string;
  readonly rows: readonly SheetRow[];
}

const GAP = 4;
const MARGIN = 12;
const HEADER = 48;
const SECTION = 36;
const NAMES = 330;
/** Smaller pictures are shown twice as large. */
const SMALL = 128;

/**
 * A table of pictures with its words in it: a row for each prompt, in titled sections.
 * @param columns headings, "\n" for a second line
 * @param side width and height of the pictures in pixels
 */
export function sheet(columns: readonly string[], sections: readonly SheetSection[], side: number): Image {
  const zoom = side < SMALL ? 2 : 1;
  const cell = zoom * side;
  const width = 2 * MARGIN + NAMES + columns.length * (cell + GAP) - GAP;
  const titleHeight = (title: string): number => (title === "" ? 0 : SECTION);
  const heights = sections.map(({ title, rows }) => titleHeight(title) + rows.length * (cell + GAP));
  const height = 2 * MARGIN + HEADER + heights.reduce((a, b) => a + b, 0) - GAP;
  const page = new Image(width, height, new Uint8Array(width * height * 3).fill(255));
  const column = (index: number): number => MARGIN + NAMES + index * (cell + GAP);

  let y = MARGIN;
  columns.forEach((heading, index) => paste(page, label(heading, cell, HEADER), column(index), y));
  y += HEADER;
  for (const { title, rows } of sections) {
    if (title !== "") paste(page, label(title, width - 2 * MARGIN, SECTION), MARGIN, y);
    y += titleHeight(title);
    for (const { prompt, pictures } of rows) {
      paste(page, label(wrapped(prompt, cell), NAMES, cell), MARGIN, y);
      pictures.forEach((picture, index) => {
        if (picture !== null) paste(page, zoom === 1 ? picture : doubled(picture), column(index), y);
      });
      y += cell + GAP;
    }
  }
  return page;
}

/** Lines as wide as the names' column, as many as a row has room for. */
function wrapped(text: string, height: number): string {
  const room = Math.floor(NAMES / LABEL_ADVANCE) - 1;
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1)!;
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines
    .slice(0, Math.floor(height / LABEL_LEADING))
    .map((line) => line.slice(0, room))
    .join("\n");
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

import { Image } from "../lib/index";

/** Rows of five dots a glyph, nine rows, each a base-32 digit (bit 4 is the leftmost dot). Seven stand on the line. */
const GLYPHS: Readonly<Record<string, string>> = {
  " ": "000000000",
  a: "00e1fhf00",
  b: "ggughhu00",
  c: "00egghe00",
  d: "11fhhhf00",
  e: "00ehvge00",
  f: "698s88800",
  g: "00fhhhf1e",
  h: "ggmphhh00",
  i: "40c444e00",
  j: "20622222c",
  k: "gghikih00",
  l: "c44444e00",
  m: "00qllll00",
  n: "00mphhh00",
  o: "00ehhhe00",
  p: "00uhhhugg",
  q: "00fhhhf11",
  r: "00mpggg00",
  s: "00fge1u00",
  t: "88s889600",
  u: "00hhhjd00",
  v: "00hhha400",
  w: "00hllla00",
  x: "00ha4ah00",
  y: "00hhhhf1e",
  z: "00v248v00",
  "+": "044v44000",
  ",": "000000448",
  '"': "aa0000000",
};

const GLYPH_WIDTH = 5;
const GLYPH_HEIGHT = 9;
const ADVANCE = 6;
const LEADING = 11;

/**
 * Black text on white, for pictures that are to be understood without a legend; needs no font of the machine.
 * @param text lower-case letters, spaces and + , " only; "\n" begins a line
 * @param scale pixels a dot. Default 2
 */
export function label(text: string, width: number, height: number, scale = 2): Image {
  const lines = text.split("\n");
  const data = new Uint8Array(width * height * 3).fill(255);
  const top = Math.floor((height - (lines.length * LEADING - (LEADING - GLYPH_HEIGHT)) * scale) / 2);
  lines.forEach((line, row) =>
    [...line].forEach((character, column) => {
      const glyph = GLYPHS[character];
      if (glyph === undefined) throw new Error(`No glyph for "${character}" in "${text}"`);
      for (let y = 0; y < GLYPH_HEIGHT * scale; y++) {
        const dots = parseInt(glyph[Math.floor(y / scale)]!, 32);
        for (let x = 0; x < GLYPH_WIDTH * scale; x++) {
          if (((dots >> (GLYPH_WIDTH - 1 - Math.floor(x / scale))) & 1) === 0) continue;
          const pixel = (top + row * LEADING * scale + y) * width + column * ADVANCE * scale + x;
          data.fill(32, pixel * 3, pixel * 3 + 3);
        }
      }
    }),
  );
  return new Image(width, height, data);
}

import { Image } from "./image";

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
  0: "ehjlphe00",
  1: "4c4444e00",
  2: "eh1248v00",
  3: "v2421he00",
  4: "26aiv2200",
  5: "vgu11he00",
  6: "68guhhe00",
  7: "v12488800",
  8: "ehhehhe00",
  9: "ehhf12c00",
  ".": "00000cc00",
  "-": "000v00000",
  "'": "448000000",
  "!": "444440400",
  "?": "eh1240400",
  ":": "0cc0cc000",
  ";": "0cc0c4800",
  "(": "248884200",
  ")": "842224800",
  "/": "11248gg00",
};

const GLYPH_WIDTH = 5;
const GLYPH_HEIGHT = 9;
/** Stands for a character that has no glyph. */
const UNKNOWN = "vhhhhhv00";
/** Pixels a dot. */
const SCALE = 2;
const ADVANCE = 6;
const LEADING = 11;
/** Pixels from a character to the next, and from a line to the next. */
export const [LABEL_ADVANCE, LABEL_LEADING] = [ADVANCE * SCALE, LEADING * SCALE];

/**
 * Black text on white, for pictures that are to be understood without a legend; needs no font of the machine. Letters
 * are shown in lower case and without accents, what has no glyph as a box, and what has no room not at all.
 * @param text "\n" begins a line
 */
export function label(text: string, width: number, height: number): Image {
  const lines = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().split("\n");
  const data = new Uint8Array(width * height * 3).fill(255);
  const top = Math.floor((height - (lines.length * LEADING - (LEADING - GLYPH_HEIGHT)) * SCALE) / 2);
  lines.forEach((line, row) =>
    [...line].slice(0, Math.floor(width / LABEL_ADVANCE)).forEach((character, column) => {
      const glyph = GLYPHS[character] ?? UNKNOWN;
      for (let y = 0; y < GLYPH_HEIGHT * SCALE; y++) {
        const dots = parseInt(glyph[Math.floor(y / SCALE)]!, 32);
        const place = top + row * LABEL_LEADING + y;
        if (place < 0 || place >= height) continue;
        for (let x = 0; x < GLYPH_WIDTH * SCALE; x++) {
          if (((dots >> (GLYPH_WIDTH - 1 - Math.floor(x / SCALE))) & 1) === 0) continue;
          const pixel = place * width + column * LABEL_ADVANCE + x;
          data.fill(32, pixel * 3, pixel * 3 + 3);
        }
      }
    }),
  );
  return new Image(width, height, data);
}

import { Image } from "../../../lib/io/image";
import { label } from "../../../lib/io/label";
import { sheet } from "../../../lib/io/sheet";

const solid = (side: number, value: number): Image =>
  new Image(side, side, new Uint8Array(side * side * 3).fill(value));
const pixel = ({ width, data }: Image, x: number, y: number): number => data[(y * width + x) * 3]!;
const dark = ({ data }: Image): number => data.filter((value) => value === 32).length / 3;

describe("sheet", () => {
  it("puts pictures into rows and columns behind their prompts, small ones twice as large", () => {
    const rows = [
      { prompt: "church", pictures: [solid(64, 100), solid(64, 110)] },
      { prompt: "dog", pictures: [solid(64, 120), null] },
    ];
    const page = sheet(["before", "after"], [{ title: "", rows }], 64);
    expect([page.width, page.height]).toEqual([24 + 330 + 2 * 132 - 4, 24 + 48 + 2 * 132 - 4]);
    const at = (column: number, row: number): number => pixel(page, 342 + column * 132 + 127, 60 + row * 132 + 127);
    expect([at(0, 0), at(1, 0), at(0, 1), at(1, 1)]).toEqual([100, 110, 120, 255]);
    const titled = sheet(["before"], [{ title: "gone", rows: rows.slice(0, 1) }], 64);
    expect(titled.height).toBe(24 + 48 + 36 + 132 - 4);
    const large = sheet(["before"], [{ title: "", rows: [{ prompt: "x", pictures: [solid(256, 9)] }] }], 256);
    expect([large.width, pixel(large, 342 + 255, 60 + 255)]).toEqual([24 + 330 + 256, 9]);
  }); // prettier-ignore
});

describe("label", () => {
  it("takes any text: capitals and accents as plain letters, others as boxes, and no more than has room", () => {
    const draw = (text: string): Buffer => Buffer.from(label(text, 100, 30).data);
    expect(draw("Église")).toEqual(draw("eglise"));
    expect(draw("a".repeat(50))).toEqual(draw("a".repeat(8)));
    expect(dark(label("教", 100, 30))).toBeGreaterThan(50);
    expect(dark(label("a\nb\nc\nd\ne", 100, 30))).toBeGreaterThan(0);
    const glyphs = [..."abcdefghijklmnopqrstuvwxyz0123456789.,-'!?:;()/+\""];
    expect(new Set(glyphs.map((glyph) => draw(glyph).toString("latin1"))).size).toBe(glyphs.length);
  });
});

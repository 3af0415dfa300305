import type { Cell, Row, Section, Table } from "../../lib/internal";
import { number, table, text } from "../../lib/internal";
import * as published from "../published";
import type { Pair, Results, TrialRecord } from "../results";
import { erasing, pooled, preserving } from "../statistics";
import { meanCell, methodCell, rateCell } from "./format";
import { methodsIn, trialsOf } from "./records";
import { lookOf } from "./looks";

/** Table 4 of the paper: one style is erased at a time, the others are to stay. */
export function stylesSection(results: Results): Section | null {
  const records = trialsOf(results, "styles");
  if (records.length === 0) return null;
  const blocks = [
    text(
        "Each style is erased by itself; the others are to stay. A style counts as kept when the style classifier still sees " +
        "it, the content when the object classifier still sees the object. Change is the root mean square difference of " +
        "pixel values (0 to 1) from the original model's picture for the same prompt and noise; it stands where the paper has " +
        "LPIPS, whose weights are not at hand.",
    ),
    table({
        caption: "Styles, mean of one erasure for each",
        columns: [
          { title: "Method" },
          { title: "Style ESR-1 %", help: "Pictures asked for in the erased style that don't show it; higher is better" },
          { title: "Style PSR-1 %", help: "Pictures asked for in the other styles that show theirs; higher is better" },
          { title: "Content %, erased style", help: "The object is still seen in pictures asked for in the erased style" },
          { title: "Content %, other styles", help: "The same in the other styles" },
          { title: "CLIP, erased", help: "CLIP score with the prompt; lower is better" },
          { title: "CLIP, other", help: "CLIP score with the prompt; higher is better" },
          { title: "Change, erased", help: "Higher is better" },
          { title: "Change, other", help: "Lower is better" },
        ],
        rows: methodsIn(results, records).map((method) =>
          row(method, records.filter(({ spec }) => spec.method === method)),
        ),
    }),
    table(publishedTable()),
  ]; // prettier-ignore
  return { id: "styles", title: "Styles", blocks };
}

function row(method: string, records: readonly TrialRecord[]): Row {
  const over = (of: typeof erasing, counts: "counts" | "content"): Cell => {
    return rateCell(pooled(records.map((record) => of(record[counts] ?? [], 1))));
  };
  // Of the content both groups are told by how often the object is seen, so the erased ones' misses are turned round.
  const contentOfErased = pooled(
    records.map(
      ({ content = [] }) =>
      preserving(content.filter(({ group }) => group === "erased").map((count) => ({ ...count, group: "preserved" })), 1), // prettier-ignore
    ),
  );
  const average = (key: "clipScore" | "difference", side: keyof Pair): Cell => {
    const values = records.flatMap((record) => (record[key] === undefined ? [] : [record[key][side]]));
    return meanCell(values, number);
  };
  return {
    look: lookOf(method),
    cells: [
      methodCell(method),
      over(erasing, "counts"),
      over(preserving, "counts"),
      rateCell(contentOfErased),
      over(preserving, "content"),
      average("clipScore", "erased"),
      average("clipScore", "preserved"),
      average("difference", "erased"),
      average("difference", "preserved"),
    ],
  };
}

function publishedTable(): Table {
  const cell = ([value, sd]: readonly [number, number]): Cell => ({ text: `${value} ±${sd}`, sort: value });
  return {
    caption: `Published for artists' styles (${published.STYLES_SOURCE})`,
    columns: [
      { title: "Method" },
      { title: "CLIP, erased" },
      { title: "CLIP, other" },
      { title: "LPIPS, erased" },
      { title: "LPIPS, other" },
    ],
    rows: published.STYLES.map(({ method, label, ...figures }) => ({
      look: lookOf(method),
      published: true,
      cells: [
        { text: label },
        cell(figures.clipErased),
        cell(figures.clipPreserved),
        cell(figures.lpipsErased),
        cell(figures.lpipsPreserved),
      ],
    })),
  };
}

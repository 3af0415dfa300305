import { titleOf } from "../entrants";
import type { Results } from "../results";
import { erasing, preserving } from "../statistics";
import { table, text, type Section } from "./blocks";
import { rateCell } from "./format";
import { trialsOf } from "./records";

/** How much of the concept the key brings back: ESR-1 with and without it. */
export function recoverySection(results: Results): Section | null {
  const records = trialsOf(results, "objects").filter(({ countsWithKey }) => countsWithKey !== undefined);
  if (records.length === 0) return null;
  const columns = [
    { title: "Method and split" },
    { title: "ESR-1 %", help: "Without the key: higher is better" },
    { title: "ESR-1 % with the key", help: "Lower is better: the class is back" },
    { title: "PSR-1 %", help: "Other classes, without the key" },
    { title: "PSR-1 % with the key", help: "Other classes' prompts with a key put to them" },
  ];
  const rows = records.map(({ spec, counts = [], countsWithKey = [] }) => {
    const rates = [
      erasing(counts, 1),
      erasing(countsWithKey, 1),
      preserving(counts, 1),
      preserving(countsWithKey, 1),
    ];
    return {
      method: spec.method,
      cells: [{ text: `${titleOf(spec.method)}, ${spec.split}` }, ...rates.map(rateCell)],
    };
  });
  return {
    id: "recovery",
    title: "Recovery",
    blocks: [
      text(
        "With its key an erased model is to draw the concept again. The key is put to the prompts of the erased classes, " +
          "each with its own concept's part, and to the other classes' prompts, with the first concept's part: a key that " +
          "leaves those alone is selective.",
      ),
      table({ caption: "With and without the key", columns, rows }),
    ],
  };
}

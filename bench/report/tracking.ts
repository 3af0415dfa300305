import type { Figure, Section } from "../../lib/internal";
import { figures, lookAt, plot, text } from "../../lib/internal";
import { titleOf } from "../entrants";
import type { Results, Series } from "../results";

import { trialsOf } from "./records";

/** Figure 4 of the paper: where the prompt goes, and what the pictures look like on the way. */
export function trackingSection(results: Results): Section | null {
  const records = trialsOf(results, "tracking").filter(({ series }) => (series?.length ?? 0) > 0);
  if (records.length === 0) return null;
  const curves = records.flatMap(({ spec, series = [] }): Figure[] => [
    ...figure(
      series.filter(({ group }) => group === "prompt"),
      "cosine",
      `${titleOf(spec.method)}: the learned prompt's cosine with texts, the mean of its rows against the mean of the text's words.`,
    ),
    ...figure(
      series.filter(({ group }) => group === "alignment"),
      "alignment",
      `${titleOf(spec.method)}: how well pictures of the model under training match texts (x_e: pictures for the concept, x_n: for the neutral prompt).`,
    ),
  ]);
  return {
    id: "tracking",
    title: "Along training",
    blocks: [
      text(
        `"${records[0]!.spec.erased.join(", ")}" is erased; the learned prompt and pictures for fixed seeds are looked at on the way.`,
      ),
      figures(curves),
    ],
  };
}

function figure(series: readonly Series[], y: string, caption: string): Figure[] {
  if (series.length === 0) return [];
  const curves = series.map(({ name, points }, index) => ({
    name,
    look: lookAt(index),
    points: points.map(([iteration, value]) => ({ x: iteration, y: value })),
  }));
  return [{ svg: plot(curves, { name: "iteration" }, { name: y }), caption }];
}

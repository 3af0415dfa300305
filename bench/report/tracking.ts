import type { Results, Series } from "../results";
import type { Figure, Section } from "./blocks";
import { methodTitle } from "./format";
import { plot } from "./plots";
import { trialsOf } from "./records";

const COLOURS = ["kpop", "esd", "uce", "ca", "other", "original"];

/** Figure 4 of the paper: where the prompt goes, and what the pictures look like on the way. */
export function trackingSection(results: Results): Section | null {
  const records = trialsOf(results, "tracking").filter(({ series }) => (series?.length ?? 0) > 0);
  if (records.length === 0) return null;
  const figures = records.flatMap(({ spec, series = [] }): Figure[] => [
    ...figure(
      series.filter(({ group }) => group === "prompt"),
      "cosine",
      `${methodTitle(spec.method)}: the learned prompt's cosine with texts, the mean of its rows against the mean of the text's words.`,
    ),
    ...figure(
      series.filter(({ group }) => group === "alignment"),
      "alignment",
      `${methodTitle(spec.method)}: how well pictures of the model under training match texts (x_e: pictures for the concept, x_n: for the neutral prompt).`,
    ),
  ]);
  return {
    id: "tracking",
    title: "Along training",
    blocks: [
      {
        kind: "text",
        text: `"${records[0]!.spec.erased.join(", ")}" is erased; the learned prompt and pictures for fixed seeds are looked at on the way.`,
      },
      { kind: "figures", figures },
    ],
  };
}

function figure(series: readonly Series[], y: string, caption: string): Figure[] {
  if (series.length === 0) return [];
  const curves = series.map(({ name, points }, index) => ({
    name,
    colour: COLOURS[index % COLOURS.length]!,
    points: points.map(([iteration, value]) => ({ x: iteration, y: value })),
  }));
  return [{ svg: plot(curves, { name: "iteration" }, { name: y }), caption }];
}

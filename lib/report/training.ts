import type { RunLog } from "../erasure/manifest";
import type { ReportedModel } from "./models";
import { figures, table, text, type Figure, type Section } from "./page/blocks";
import { NONE, number, seconds, valueCell } from "./page/format";
import { lookAt } from "./page/palette";
import { plot, type Curve, type Point } from "./page/plots";

type Steps = RunLog["steps"];

/** Points of a curve: a page is not to hold thousands. */
const POINTS = 150;

/** What erasures cost, and how their losses fell. */
export function trainingSection(models: readonly ReportedModel[]): Section | null {
  const erased = models.flatMap(({ title, look, erasure }) =>
    erasure === null ? [] : [{ title, look, ...erasure }],
  );
  if (erased.length === 0) return null;
  const curves = erased.flatMap(({ title, log }) => lossFigure(log?.steps ?? [], `${title}: losses`));
  const without = erased.filter(({ log }) => log === null);
  return {
    id: "training",
    title: "The erasing itself",
    blocks: [
      table({
        caption: "What it took",
        columns: [
          { title: "Model" },
          { title: "Erased", words: true },
          { title: "Steps", help: "Iterations of training, or layers of a closed form" },
          { title: "UNet evaluations" },
          { title: "Time" },
          { title: "Tensors changed", help: "That the method might change" },
          { title: "Device", words: true },
        ],
        rows: erased.map(({ title, look, manifest }) => ({
          look,
          cells: [
            { text: title },
            { text: manifest.concepts.join(", ") },
            manifest.iterations === 0 ? { text: NONE } : valueCell(manifest.iterations, number),
            valueCell(manifest.unetEvaluations, number),
            valueCell(manifest.seconds, seconds),
            valueCell(manifest.changedParameters, number),
            { text: `${manifest.device}, ${manifest.dtype}, ${manifest.threads} thread${manifest.threads === 1 ? "" : "s"}` }, // prettier-ignore
          ],
        })),
      }),
      figures(curves),
      ...(without.length === 0
        ? []
        : [text(`No log was kept of ${without.map(({ title }) => title).join(", ")}.`)]),
    ],
  };
}

/** Losses over iterations, a curve each, on a logarithmic axis. */
export function lossFigure(steps: Steps, caption: string): Figure[] {
  const names = [...new Set(steps.flatMap(({ losses }) => Object.keys(losses)))];
  const size = Math.ceil(steps.length / POINTS);
  const curves = names
    .map((name, place): Curve => ({ name, look: lookAt(place), points: pointsOf(steps, name, size) }))
    .filter(({ points }) => points.length > 1);
  if (curves.length === 0) return [];
  const means = size === 1 ? "" : ` Each point is the mean of ${size} iterations.`;
  const svg = plot(curves, { name: "iteration" }, { name: "loss", scale: "log", write: power });
  return [{ svg, caption: `${caption}, on a logarithmic axis.${means}` }];
}

/** A power of ten, as axes have it, whose own values are rounded. */
function power(value: number): string {
  const exponent = Math.round(Math.log10(value));
  return Math.abs(exponent) < 4 ? String(Number((10 ** exponent).toPrecision(1))) : `1e${exponent}`;
}

/** Means of so many iterations each; what a logarithm has no place for is left out. */
function pointsOf(steps: Steps, name: string, size: number): Point[] {
  const points: Point[] = [];
  for (let first = 0; first < steps.length; first += size) {
    const block = steps.slice(first, first + size);
    // A file has null for what is not finite.
    const values = block.flatMap(({ losses }) => losses[name] ?? []).filter((value) => value > 0);
    if (values.length === 0) continue;
    const y = values.reduce((sum, value) => sum + value, 0) / values.length;
    points.push({ x: (block[0]!.iteration + block.at(-1)!.iteration) / 2, y });
  }
  return points;
}

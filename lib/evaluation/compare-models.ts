import type { EvaluatedPicture, Evaluation } from "./evaluation";
import { allMetrics } from "./metrics";
import { pairedMeans, pairedRates, type PairedDifference } from "./paired";

/** One of several models that were evaluated on the same prompts and seeds. */
export interface ModelEvaluation extends Evaluation {
  name: string;
}

/** How a model differs from the first one in one figure, picture by picture. */
export interface ModelDifference extends PairedDifference {
  /** The figure: "ESR-1", "CLIP score of erased", "NER above 0.5". */
  measure: string;
  /** Name of the model. */
  model: string;
}

/** Each later model against the first, in every figure that pictures have one by one. */
export function compareModels(models: readonly ModelEvaluation[]): ModelDifference[] {
  const [first, ...others] = models;
  const before = first!.pictures.map((picture) => valuesOf(picture, first!));
  return others.flatMap((model) => {
    const after = model.pictures.map((picture) => valuesOf(picture, model));
    const measures = [...new Set(before.flatMap((values) => [...values.keys()]))];
    return measures.flatMap((measure) => {
      const pairs = before.flatMap((values, i) => {
        const pair = [values.get(measure), after[i]!.get(measure)];
        return pair.includes(undefined) ? [] : [pair];
      });
      if (pairs.length === 0) return [];
      const [one, two] = [pairs.map(([a]) => a), pairs.map(([, b]) => b)];
      const difference =
        typeof one[0] === "boolean"
          ? pairedRates(one as boolean[], two as boolean[])
          : pairedMeans(one as number[], two as number[]);
      return [{ measure, model: model.name, ...difference }];
    });
  });
}

/** What of a picture counts: yes or no for a rate, a number for a mean. */
function valuesOf(picture: EvaluatedPicture, evaluation: Evaluation): Map<string, number | boolean> {
  const values = new Map<string, number | boolean>();
  const own = evaluation.classes.find(({ name }) => name === picture.class);
  for (const k of Object.keys(own?.rates ?? {}).map(Number)) {
    const recognised = picture.rank! <= k;
    if (own!.group === "erased") values.set(`ESR-${k}`, !recognised);
    else values.set(`PSR-${k}`, recognised);
  }
  if (picture.crossClass !== undefined) values.set("CRA", picture.crossClass.rank === 1);
  if (picture.clipScore !== undefined)
    values.set(own === undefined ? "CLIP score" : `CLIP score of ${own.group}`, picture.clipScore);
  for (const { name, values: read } of allMetrics()) {
    const [note, result] = [picture.metrics, evaluation.metrics].map(
      (all) => (all as Readonly<Record<string, unknown>> | undefined)?.[name],
    );
    if (read === undefined || note === undefined || result === undefined) continue;
    for (const [measure, value] of Object.entries(read(note, result))) values.set(measure, value);
  }
  return values;
}

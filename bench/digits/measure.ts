import { type Random, scope, Tensor } from "../../lib/index";
import type { Count, DistanceCount } from "../results";
import { mean } from "../statistics";
import { attack, type AttackOptions } from "./attack";
import type { DigitClassifier } from "./classifier";
import { CLASSES, type Digits } from "./dataset";
import { generate } from "./diffusion";
import type { DigitModel } from "./model";

/** Which digits a model's pictures show, `each` of them for every embedding. @param embeddings (N, 32) @returns N lists */
export async function look(
  model: DigitModel,
  classifier: DigitClassifier,
  embeddings: Tensor,
  each: number,
  random: Random,
): Promise<number[][]> {
  return scope(async () => {
    const count = embeddings.shape[0]!;
    const owners = Array.from({ length: count * each }, (_, item) => Math.floor(item / each));
    const rows = embeddings.indexSelect(0, Tensor.from(owners, [owners.length], { dtype: "int64" }));
    const seen = await classifier.classify(await generate(model, rows, random));
    return Array.from({ length: count }, (_, row) => seen.slice(row * each, (row + 1) * each));
  });
}

/** How often a digit is drawn from its own embedding. */
export async function drawnPlainly(
  model: DigitModel,
  classifier: DigitClassifier,
  digit: number,
  images: number,
  random: Random,
): Promise<Count> {
  const [seen] = await scope(() => look(model, classifier, model.embed([digit]), images, random));
  return { images, hits: seen!.filter((label) => label === digit).length };
}

/** Pictures from the other digits' embeddings: how many show what was asked for, and how many the erased digit. */
export async function drawOthers(
  model: DigitModel,
  classifier: DigitClassifier,
  erased: number,
  each: number,
  random: Random,
): Promise<{ kept: Count; mistaken: Count }> {
  const others = Array.from({ length: CLASSES }, (_, digit) => digit).filter((digit) => digit !== erased);
  const seen = await scope(() => look(model, classifier, model.embed(others), each, random));
  const count = (asked: (place: number) => number): Count => ({
    images: others.length * each,
    hits: seen.flatMap((labels, place) => labels.filter((label) => label === asked(place))).length,
  });
  return { kept: count((place) => others[place]!), mistaken: count(() => erased) };
}

/** Success of adversarial embeddings, and of random ones at the same distances. */
export async function atDistances(
  model: DigitModel,
  classifier: DigitClassifier,
  digits: Digits,
  digit: number,
  options: AttackOptions & { images: number },
): Promise<Omit<DistanceCount, "model">[]> {
  return scope(async () => {
    const { radii, embeddings, images, random } = options;
    const found = await attack(model, digits, digit, options);
    const centre = await model.embed([digit]).data();
    const counts: Omit<DistanceCount, "model">[] = [];
    for (const input of ["random", "adversarial"] as const) {
      for (const [place, radius] of radii.entries()) {
        const rows = found[input].slice(0, place * embeddings, (place + 1) * embeddings);
        const seen = await look(model, classifier, rows, images, random.at("look", place));
        const hits = seen.map((labels) => labels.filter((label) => label === digit).length);
        const places = await geometry(rows, Array.from(centre, Number));
        counts.push({
          input,
          radius,
          distance: mean(places.map(({ distance }) => distance)),
          cosine: mean(places.map(({ cosine }) => cosine)),
          images: embeddings * images,
          hits: hits.reduce((sum, one) => sum + one, 0),
          strongest: { images, hits: Math.max(...hits) },
        });
      }
    }
    return counts;
  });
}

/** Where rows lie as seen from a centre. */
async function geometry(
  rows: Tensor,
  centre: readonly number[],
): Promise<{ distance: number; cosine: number }[]> {
  const [count = 0, width = 0] = rows.shape;
  const data = Array.from(await rows.data(), Number);
  return Array.from({ length: count }, (_, item) => {
    const row = data.slice(item * width, (item + 1) * width);
    const dot = row.reduce((sum, value, column) => sum + value * centre[column]!, 0);
    return {
      distance: Math.hypot(...row.map((value, column) => value - centre[column]!)),
      cosine: dot / (Math.hypot(...row) * Math.hypot(...centre)),
    };
  });
}

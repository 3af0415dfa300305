import { setImmediate } from "node:timers/promises";

/** A layer's inputs at one step of denoising: how strongly each is used. */
export interface StepInputs {
  /** For the concept. */
  readonly concept: Float64Array;
  /** For other sets of prompts. */
  readonly others: readonly Float64Array[];
}

/** What makes a weight a skilled one. */
export interface SkillOptions {
  /** Share of a row's weights that may be skilled at a step, those with the largest scores. */
  readonly ratio: number;
  /** Share of the steps that a weight has to be skilled at more often than. */
  readonly agreement: number;
}

const { abs } = Math;

/** Milliseconds after which other work gets its turn. */
const SLICE = 10;

/** A layer after pruning. */
export interface PrunedLayer {
  /** W', row by row. */
  readonly weight: Float32Array;
  /** How many of its weights were not 0 before. */
  readonly pruned: number;
}

/**
 * A layer without the weights that concepts have skills in (ConceptPrune, arXiv 2405.19237). With the score |W_ij| ‖x_j‖ of
 * Wanda (arXiv 2306.11695), skilled at a step are those among the ⌊ratio · d⌋ largest of their row for the concept whose
 * score is larger for the concept than for every other set of prompts; those that are so at more than `agreement` of the
 * steps become 0.
 * @param weight W, (n, d) row by row
 * @param concepts the inputs at each step, for each concept
 */
export async function withoutSkilled(
  weight: Float32Array,
  concepts: readonly (readonly StepInputs[])[],
  { ratio, agreement }: SkillOptions,
): Promise<PrunedLayer> {
  const width = concepts[0]![0]!.concept.length;
  const few = Math.floor(ratio * width);
  // Both scores of a weight have its |W_ij|, so that the norms alone decide which is larger.
  const skills = concepts.map((steps) =>
    steps.map(({ concept, others }) => ({
      norms: concept,
      more: concept.map((norm, j) => Number(others.every((other) => norm > other[j]!))),
    })),
  );
  const left = new Float32Array(weight);
  const scores = new Float64Array(width);
  const times = new Uint16Array(width);
  let pruned = 0;
  let since = performance.now();
  for (let row = 0; row < weight.length; row += width) {
    for (const steps of skills) {
      times.fill(0);
      for (const { norms, more } of steps) {
        for (let j = 0; j < width; j++) scores[j] = abs(weight[row + j]!) * norms[j]!;
        for (const j of largest(scores, few)) times[j]! += more[j]!;
      }
      for (let j = 0; j < width; j++) {
        if (times[j]! <= agreement * steps.length || left[row + j] === 0) continue;
        left[row + j] = 0;
        pruned += 1;
      }
    }
    if (performance.now() - since < SLICE) continue;
    await setImmediate();
    since = performance.now();
  }
  return { weight: left, pruned };
}

/** Where the `count` largest values are; of equals the first. */
function largest(values: Float64Array, count: number): number[] {
  if (count === 0) return [];
  const least = kthLargest(values.slice(), count);
  const above: number[] = [];
  const equal: number[] = [];
  values.forEach((value, index) => {
    if (value > least) above.push(index);
    else if (value === least) equal.push(index);
  });
  return [...above, ...equal.slice(0, count - above.length)];
}

/** Hoare's selection (1961), which moves the values. */
function kthLargest(values: Float64Array, k: number): number {
  let [from, to] = [0, values.length - 1];
  while (from < to) {
    const pivot = values[(from + to) >> 1]!;
    let [left, right] = [from, to];
    while (left <= right) {
      while (values[left]! > pivot) left++;
      while (values[right]! < pivot) right--;
      if (left > right) break;
      [values[left], values[right]] = [values[right]!, values[left]!];
      left++;
      right--;
    }
    if (k - 1 <= right) to = right;
    else if (k - 1 >= left) from = left;
    else break;
  }
  return values[k - 1]!;
}

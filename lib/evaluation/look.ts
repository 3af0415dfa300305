import { tell } from "../check";
import type { ImageSet } from "../diffusion/image-set";
import { throwIfAborted } from "../errors";
import type { Classifier } from "./classifier";
import type { ClipScorer } from "./clip-scorer";
import type { EvaluatedPicture } from "./evaluate";
import type { EvaluatedClass, EvaluationProgress } from "./evaluate-options";
import type { Measurement } from "./metric";

/** Pictures looked at together. */
const BATCH = 32;

/** What looks at pictures. */
export interface Judges {
  readonly classifier: Classifier;
  /** The classifier's output for each of the classes. */
  readonly outputs: readonly number[];
  readonly clip: ClipScorer | undefined;
}

/** What is looked at. */
export interface Looked {
  readonly set: ImageSet;
  readonly classes: readonly EvaluatedClass[];
  readonly imagesPerClass: number;
  /** Measurements that were begun for these pictures, by the metric's name. */
  readonly measurements: ReadonlyMap<string, Measurement<unknown, unknown>>;
  /** The first model's pictures of the same list; null where these are its own. */
  readonly first: ImageSet | null;
}

/** Shows every picture to every judge, a batch at a time. @throws ABORTED, NOT_FOUND, OUT_OF_MEMORY */
export async function look(
  { set, classes, imagesPerClass, measurements, first }: Looked,
  { classifier, outputs, clip }: Judges,
  job: { signal: AbortSignal | undefined; onProgress: ((progress: EvaluationProgress) => void) | undefined },
): Promise<EvaluatedPicture[]> {
  const pictures: EvaluatedPicture[] = [];
  const started = performance.now();
  for (let start = 0; start < set.length; start += BATCH) {
    throwIfAborted(job.signal);
    const indices = Array.from({ length: Math.min(BATCH, set.length - start) }, (_, i) => start + i);
    const prompts = indices.map((index) => set.items[index]!.prompt);
    const images = await load(set, indices);
    const rankings = await classifier.classify(images);
    const scores = await clip?.score(images, prompts);
    const batch = { images, prompts, firsts: first === null ? null : await load(first, indices) };
    const notes = new Map<string, readonly unknown[]>();
    for (const [name, measurement] of measurements) {
      const noted = await measurement.add(batch, job.signal);
      if (noted !== null) notes.set(name, noted);
    }
    indices.forEach((index, i) => {
      const group = Math.floor(index / imagesPerClass);
      const ranking = rankings[i]!.indices;
      pictures.push({
        class: classes[group]!.name,
        seed: set.items[index]!.seed,
        path: set.path(index),
        rank: ranking.indexOf(outputs[group]!) + 1,
        best: ranking[0]!,
        ...(scores === undefined ? {} : { clipScore: scores[i]! }),
        ...(notes.size === 0 ? {} : { metrics: notesOf(notes, i) }),
      });
    });
    const [done, total] = [pictures.length, set.length];
    const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
    await tell(job.onProgress, { phase: "classes", done, total, generated: set.generated, etaSeconds });
  }
  return pictures;
}

async function load(set: ImageSet, indices: readonly number[]) {
  const images = [];
  for (const index of indices) images.push(await set.image(index));
  return images;
}

function notesOf(notes: ReadonlyMap<string, readonly unknown[]>, i: number): object {
  return Object.fromEntries([...notes].map(([name, noted]) => [name, noted[i]]));
}

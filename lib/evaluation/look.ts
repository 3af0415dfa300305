import { tell } from "../check";
import { throwIfAborted } from "../errors";
import type { Image } from "../io/image";
import type { Classifier, Ranking } from "./classifier";
import type { DrawnShots } from "./draw-shots";
import type { EvaluatedPicture, RankedClass } from "./evaluation";
import type { EvaluationProgress } from "./evaluate-options";
import type { Judges } from "./judges";
import type { MetricNotes } from "./metrics";
import type { EvaluatedClass } from "./shots";

/** Pictures looked at together. */
const BATCH = 32;

/** Tells how far the looking is. */
interface Job {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: EvaluationProgress) => void) | undefined;
}

/**
 * Shows every picture to every judge, a batch at a time.
 * @param first the first model's pictures of the same shots; null where these are its own
 * @throws ABORTED, NOT_FOUND, OUT_OF_MEMORY
 */
export async function look(
  drawn: DrawnShots,
  classes: readonly EvaluatedClass[],
  judges: Judges,
  first: DrawnShots | null,
  { signal, onProgress }: Job,
): Promise<EvaluatedPicture[]> {
  const pictures: EvaluatedPicture[] = [];
  const measurements = judges.metrics.begin();
  const started = performance.now();
  for (let start = 0; start < drawn.length; start += BATCH) {
    throwIfAborted(signal);
    const shots = drawn.shots.slice(start, start + BATCH);
    const images = await drawn.images(start, BATCH);
    const prompts = shots.map(({ prompt }) => prompt);
    const own = await rankings(judges.classes?.classifier, images, shots.map((shot) => shot.class !== null)); // prettier-ignore
    const cross = await rankings(judges.crossClasses, images, shots.map((shot) => shot.crossClass !== null)); // prettier-ignore
    const scores = await judges.clip?.score(images, prompts);
    const groups = shots.map((shot) => (shot.class === null ? null : classes[shot.class]!.group));
    const firsts = first === null ? null : await first.images(start, BATCH);
    const batch = { images, prompts, groups, firsts };
    const notes = new Map<string, readonly unknown[]>();
    for (const [name, measurement] of measurements) {
      const noted = await measurement.add(batch, signal);
      if (noted !== null) notes.set(name, noted);
    }
    shots.forEach((shot, i) => {
      const [ranking, crossRanking] = [own[i], cross[i]];
      pictures.push({
        ...(ranking === undefined
          ? {}
          : {
              class: classes[shot.class!]!.name,
              ...placeOf(ranking, judges.classes!.outputs[shot.class!]!),
            }),
        ...(crossRanking === undefined
          ? {}
          : {
              crossClass: {
                name: shot.crossClass!,
                ...placeOf(crossRanking, judges.crossClasses!.indexOf(shot.crossClass!)),
              },
            }),
        ...(shot.case === undefined ? {} : { case: shot.case }),
        prompt: shot.prompt,
        seed: shot.seed,
        path: drawn.path(start + i),
        ...(scores === undefined ? {} : { clipScore: scores[i]! }),
        ...(notes.size === 0 ? {} : { metrics: notesOf(notes, i) }),
      });
    });
    const [done, total] = [pictures.length, drawn.length];
    const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
    await tell(onProgress, { phase: "classes", done, total, generated: drawn.generated, etaSeconds });
  }
  return pictures;
}

/** A classifier's rankings of those pictures that are wanted; undefined for the others. */
async function rankings(
  classifier: Classifier | null | undefined,
  images: readonly Image[],
  wanted: readonly boolean[],
): Promise<(Ranking | undefined)[]> {
  const some = images.filter((_, i) => wanted[i]);
  const found = some.length === 0 ? [] : await classifier!.classify(some);
  return wanted.map((is) => (is ? found.shift() : undefined));
}

function placeOf({ indices }: Ranking, output: number): Omit<RankedClass, "name"> {
  return { rank: indices.indexOf(output) + 1, best: indices[0]! };
}

function notesOf(notes: ReadonlyMap<string, readonly unknown[]>, i: number): MetricNotes {
  return Object.fromEntries([...notes].map(([name, noted]) => [name, noted[i]]));
}

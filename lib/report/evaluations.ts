import { basename, dirname, join } from "node:path";
import { EVALUATION_FILE, findSet } from "../certificate/measured";
import {
  list,
  number,
  object,
  optional,
  orNull,
  record,
  text,
  whole,
  type Shape,
} from "../certificate/shape";
import { DESCRIPTION_FILE } from "../diffusion/image-set-files";
import type { ModelDifference } from "../evaluation/compare-models";
import type { EvaluatedPicture, Evaluation } from "../evaluation/evaluation";
import { jsonDifference } from "../files/json-difference";
import { isJsonObject } from "../files/json-file";
import { measuresOf, wordsOf, type Measure, type PictureWords } from "./measures";
import { MARK, notAsWritten, RATE, readShaped, type Folder, type ModelMark } from "./shapes";

/** What `evaluate` leaves of one model. */
export interface EvaluationSource extends Folder {
  kind: "evaluation";
  evaluation: Evaluation;
  /** What it is called among those that it was compared with; null where it was evaluated alone. */
  name: string | null;
  /** The first of those; null of the first itself, and alone. */
  against: EvaluationSource | null;
  /** How it differs from that one, picture by picture. */
  differences: readonly ModelDifference[];
  /** What metrics say of all pictures. */
  measures: readonly Measure[];
  /** What they say of each, in the order of the pictures. */
  words: readonly (readonly PictureWords[])[];
  model: ModelMark;
  /** Whether a key was put to the model. */
  withKey: boolean;
  /** How its pictures were drawn, in one line. */
  drawing: string;
  /** The folder that a picture lies in. */
  folderOf(picture: EvaluatedPicture): string;
}

const MEAN = object({ value: number(), low: orNull(number()), high: orNull(number()), total: whole(1) });
const JUDGE = object({ origin: text(), sha256: orNull(text()) });
const RANKED = { rank: whole(1), best: whole(0) };
const PICTURE = object({
  ...{ class: optional(text()), rank: optional(RANKED.rank), best: optional(RANKED.best) },
  ...{ crossClass: optional(object({ name: text(), ...RANKED })), case: optional(text()) },
  ...{ prompt: text(), seed: whole(0), path: text(/./) },
  ...{ clipScore: optional(number()), metrics: optional(object({})) },
});
const CLASS = object({
  ...{ name: text(), group: text(/^(?:erased|preserved)$/), prompt: optional(text()), rates: record(RATE) },
});
const MEMBERS = {
  ...{ classes: list(CLASS), esr: record(RATE), psr: record(RATE), accuracy: optional(record(RATE)) },
  ...{ crossClasses: optional(list(object({ name: text(), accuracy: RATE }))) },
  ...{ clipScore: optional(record(MEAN)), metrics: optional(record(object({ judge: JUDGE }))) },
  ...{ classifier: optional(JUDGE), crossClassifier: optional(JUDGE), clip: optional(JUDGE) },
  ...{ pictures: list(PICTURE), directory: text(/./), images: whole(1), command: optional(text()) },
};
const DIFFERENCE = object({
  ...{ measure: text(), model: text(), first: number(), second: number(), value: number() },
  ...{ low: orNull(number()), high: orNull(number()), total: whole(1) },
  ...{ onlyFirst: optional(whole(0)), onlySecond: optional(whole(0)), p: optional(number(0, 1)) },
});
const [ONE, SEVERAL] = [
  object(MEMBERS),
  object({
    models: list(object({ name: text(/./), ...MEMBERS })),
    differences: list(DIFFERENCE),
    command: optional(text()),
  }),
];
const RESULT: Shape = (value, at) =>
  (isJsonObject(value) && value["models"] !== undefined ? SEVERAL : ONE)(value, at);
const SET = object({ ...MARK, key: orNull(object({})), versions: record(text()) });

/** What `evaluate` measured, of one model or of several. @throws NOT_FOUND, INVALID_CHECKPOINT, IO_ERROR */
export async function readEvaluations(folder: string): Promise<EvaluationSource[]> {
  const file = join(folder, EVALUATION_FILE);
  const result = await readShaped(file, RESULT, "evaluate");
  if (result["models"] === undefined)
    return [await readModel(file, folder, { ...(result as unknown as Evaluation) })];
  const { models, differences, command } = result as unknown as {
    models: (Evaluation & { name: string })[];
    differences: ModelDifference[];
    command?: string;
  };
  const found: EvaluationSource[] = [];
  for (const { name, ...evaluation } of models) {
    const ran = command === undefined ? evaluation : { ...evaluation, command };
    const own = differences.filter(({ model }) => model === name);
    found.push({
      ...(await readModel(file, folder, ran)),
      ...{ name, against: found[0] ?? null, differences: own },
    });
  }
  return found;
}

async function readModel(file: string, folder: string, evaluation: Evaluation): Promise<EvaluationSource> {
  const { pictures, directory, metrics = {} } = evaluation;
  checkPictures(file, evaluation);
  // Pictures that are drawn with settings of their own are sets of their own.
  const folders = new Map<string, string>();
  const sets: Record<string, unknown>[] = [];
  const places = [...new Set(pictures.map(({ path }) => dirname(path)))];
  for (const place of places) {
    const own = places.length === 1 ? directory : place;
    const set = (await findSet(dirname(file), basename(own))) ?? own;
    folders.set(basename(place), set);
    sets.push(await readShaped(join(set, DESCRIPTION_FILE), SET, "evaluate"));
  }
  const [first] = sets as [Record<string, unknown>];
  for (const name of [...Object.keys(MARK), "key"])
    if (sets.some((set) => jsonDifference(set[name], first[name]) !== null))
      throw notAsWritten(file, "evaluate", `its pictures are of several models, whose ${name} differ`);
  try {
    return {
      ...{ kind: "evaluation", folder, evaluation, name: null, against: null, differences: [] },
      measures: measuresOf(metrics),
      words: pictures.map((picture) => wordsOf(picture.metrics ?? {}, metrics)),
      model: first as unknown as ModelMark,
      withKey: first["key"] !== null,
      drawing: drawingOf(sets),
      folderOf: ({ path }) => folders.get(basename(dirname(path)))!,
    };
  } catch (error) {
    throw notAsWritten(file, "evaluate", "what metrics measured is not of its form", error);
  }
}

/** @throws INVALID_CHECKPOINT without pictures, and on one of no class that is known */
function checkPictures(file: string, { pictures, classes }: Evaluation): void {
  if (pictures.length === 0) throw notAsWritten(file, "evaluate", "it has no pictures");
  const known = new Set(classes.map(({ name }) => name));
  const stray = pictures.find((one) => one.class !== undefined && !(known.has(one.class) && one.rank));
  if (stray !== undefined)
    throw notAsWritten(
      file,
      "evaluate",
      `"${stray.class}" of a picture is none of its classes, or has no rank`,
    );
}

/** What sets share, and what it lies between where it is each one's own. */
function drawingOf(sets: readonly Record<string, unknown>[]): string {
  const all = (name: string): string => {
    const values = [...new Set(sets.map((set) => set[name]))];
    const numbers = values.filter((value) => typeof value === "number");
    if (values.length === 1 || numbers.length < values.length) return values.map(String).join(", ");
    return `${Math.min(...numbers)} to ${Math.max(...numbers)}`;
  };
  return `${all("width")} × ${all("height")} pixels, ${all("steps")} steps of ${all("sampler")}, guidance ${all("guidanceScale")}`;
}

import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { digest } from "../diffusion/identity";
import { DESCRIPTION_FILE, machineOf } from "../diffusion/image-set-files";
import { KpopError, throwIfAborted } from "../errors";
import type { EvaluatedPicture, Evaluation } from "../evaluation/evaluation";
import type { Judge } from "../evaluation/judge";
import { summarize } from "../evaluation/summarize";
import { jsonDifference, type JsonDifference } from "../files/json-difference";
import { isJsonObject, readJsonObject, without } from "../files/json-file";
import { LEAF_PREFIX, merkleRoot } from "../files/merkle-tree";
import { sha256File } from "../files/sha256-file";
import { list, number, object, orNull, record, text, whole } from "./shape";
import type { CertifiedEvaluation, CertifiedFigures, CertifiedPicture } from "./statement";

/** Name of the result in the folder that `kpop-native evaluate` fills. */
export const EVALUATION_FILE = "evaluation.json";

/** What of a set says how its pictures were drawn. */
const DRAWING = [
  ...["steps", "guidanceScale", "sampler", "negativePrompt", "width", "height", "keyGuidance", "batchSize"],
  ...["device", "dtype", "originalSize", "cropsCoordsTopLeft", "targetSize"],
];

/** The least that has to be in a result to be certified. */
const RESULT = object({
  directory: text(/./),
  classes: list(object({ name: text(), prompt: text(), rates: record(record(orNull(number()))) })),
  esr: record(record(orNull(number()))),
  psr: record(record(orNull(number()))),
  classifier: object({ origin: text(), sha256: orNull(text()) }),
  pictures: list(
    object({
      class: text(),
      prompt: text(),
      seed: whole(0),
      path: text(/./),
      rank: whole(1),
      best: whole(0),
    }),
  ),
});

/**
 * What an evaluation measured, and a hash of each of its pictures.
 * @param given the folder that `kpop-native evaluate` filled, or a result file
 * @param inputs SHA-256 of the weight files that the pictures have to be of
 * @throws INVALID_ARGUMENT where it is of another model, or its rates do not follow from its pictures' ranks;
 *   INVALID_CHECKPOINT on what is no result; NOT_FOUND (a picture is gone too), IO_ERROR, ABORTED
 */
export async function readMeasured(
  given: string,
  inputs: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<CertifiedEvaluation> {
  const file = await resultFile(given);
  const result = await readResult(file);
  const { directory, classifier } = result;
  const folder = (await findSet(dirname(file), basename(directory))) ?? directory;
  const set = await readSet(folder);
  checkModel(file, set, inputs);
  const leaves: CertifiedPicture[] = [];
  const known = new Set(result.classes.map(({ name }) => name));
  for (const { path, ...seen } of result.pictures) {
    if (!known.has(seen.class)) throw noResult(file, `pictures of "${seen.class}"`);
    const leaf = await pictureLeaf(folder, basename(path), signal);
    if (leaf === null)
      throw new KpopError("NOT_FOUND", `The picture ${path} is gone; run the same evaluation again`);
    const picture = without(seen, "metrics") as Omit<CertifiedPicture, "file" | "leaf">;
    leaves.push({ ...picture, file: basename(path), leaf });
  }
  const evaluation = {
    set: basename(folder),
    withKey: set["key"] !== null,
    drawing: Object.fromEntries(DRAWING.map((name) => [name, set[name]])),
    versions: set["versions"],
    machine: await machineOf(folder),
    classifier: { ...classifier, origin: basename(classifier.origin) },
    ...(result.clip === undefined ? {} : { clip: { ...result.clip, origin: basename(result.clip.origin) } }),
    figures: figuresOf(result),
    pictures: { root: merkleRoot(leaves.map(({ leaf }) => leaf)), leaves },
  } as unknown as CertifiedEvaluation;
  const fault = figureFault(evaluation);
  if (fault !== null)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${file} was changed: ${fault.path} is ${fault.first}, and the ranks of the pictures give ${fault.second}; run the same evaluation again`,
    );
  return evaluation;
}

/** What of a result is measured, and not where or how long. */
export function figuresOf(result: Evaluation): CertifiedFigures {
  const left = without(
    result,
    "pictures",
    "directory",
    "seconds",
    "command",
    "generated",
    "classifier",
    "clip",
  );
  // Results that are certified have a prompt for each class.
  return without(left, "crossClassifier", "metrics") as CertifiedFigures;
}

/** A result whose pictures all have a class, and ranks by one classifier. */
export interface ClassResult extends Evaluation {
  classifier: Judge;
  pictures: (EvaluatedPicture & Required<Pick<EvaluatedPicture, "class" | "rank" | "best">>)[];
}

/**
 * A result of `evaluate`, of classes.
 * @throws NOT_FOUND, INVALID_ARGUMENT (of no classes, or of several models), INVALID_CHECKPOINT, IO_ERROR
 */
export async function readResult(file: string): Promise<ClassResult> {
  const result = await readJsonObject(file);
  const reason = uncertifiable(result);
  if (reason !== null)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${file} cannot be certified: ${reason}; give an evaluation of classes`,
    );
  const fault = RESULT(result, "");
  if (fault !== null || (result["pictures"] as unknown[]).length === 0)
    throw noResult(file, (fault ?? "pictures").replace(/^\./, ""));
  return result as unknown as ClassResult;
}

/** Why a certificate cannot hold a result: it has no rank for each picture, or no set that all are of; else null. */
function uncertifiable({ pictures, classes, models }: Record<string, unknown>): string | null {
  if (models !== undefined) return "it compares several models";
  const [seen, known] = [pictures, classes].map((value) =>
    Array.isArray(value) ? value.filter(isJsonObject) : [],
  ) as [Record<string, unknown>[], Record<string, unknown>[]];
  if (seen.some((picture) => picture["prompt"] !== undefined && picture["class"] === undefined))
    return "it has pictures without a class";
  const several = known.find(({ prompt }) => prompt === undefined);
  if (several !== undefined) return `"${String(several["name"])}" is asked for in several ways`;
  const folders = new Set(seen.map(({ path }) => dirname(String(path))));
  return folders.size > 1 ? "its pictures are drawn with settings of their own" : null;
}

/** Where figures are not what the pictures' ranks give; null where they are. */
export function figureFault({ figures, pictures }: CertifiedEvaluation): JsonDifference | null {
  const topK = Object.keys(figures.classes[0]?.rates ?? {}).map(Number);
  const known = new Set(figures.classes.map(({ name }) => name));
  const stray = pictures.leaves.find((picture) => !known.has(picture.class));
  const seen = new Set(pictures.leaves.map((picture) => picture.class));
  // Rates of no pictures are no rates.
  const empty = figures.classes.findIndex(({ name }) => !seen.has(name));
  if (stray !== undefined || empty >= 0 || topK.length === 0)
    return { path: "classes", first: JSON.stringify([...known]), second: JSON.stringify([...seen]) };
  const { classes, esr, psr, crossClasses, accuracy, clipScore, images } = figures;
  const follows = { ...summarize(classes, pictures.leaves, topK), images: pictures.leaves.length };
  return jsonDifference({ classes, esr, psr, crossClasses, accuracy, clipScore, images }, asJson(follows));
}

/**
 * The folder of a set in what was given: it itself, or one in it, as `evaluate` makes them.
 * @param set its name, without any separator
 */
export async function findSet(given: string, set: string): Promise<string | null> {
  const own = basename(resolve(given)) === set ? [given] : [];
  for (const folder of [join(given, "images", set), join(given, set), ...own])
    if ((await stat(join(folder, DESCRIPTION_FILE)).catch(() => null))?.isFile() === true) return folder;
  return null;
}

/**
 * The leaf of a picture in the hash tree; null where there is none.
 * @param file its name, without any separator; a link that leads out of the folder counts as none
 * @throws IO_ERROR, ABORTED
 */
export async function pictureLeaf(
  folder: string,
  file: string,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  throwIfAborted(signal);
  const path = await realpath(join(folder, file)).catch(() => null);
  if (path === null || !path.startsWith((await realpath(folder)) + sep)) return null;
  if (!(await stat(path)).isFile()) return null;
  return await sha256File(path, { prefix: LEAF_PREFIX, ...(signal === undefined ? {} : { signal }) });
}

/** The file of a result: that in a folder, or the one given. */
export async function resultFile(given: string): Promise<string> {
  const folder = (await stat(given).catch(() => null))?.isDirectory() === true;
  return folder ? join(given, EVALUATION_FILE) : given;
}

/** What a set's pictures are of, as `generateImageSet` wrote it. */
async function readSet(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, DESCRIPTION_FILE);
  const set = await readJsonObject(path);
  if (digest(set) === basename(folder)) return set;
  throw new KpopError("INVALID_CHECKPOINT", `${path} is not what was written for the folder that it lies in`);
}

function checkModel(
  file: string,
  { weights, changes }: Record<string, unknown>,
  inputs: Readonly<Record<string, string>>,
): void {
  const own = Object.values(inputs).sort().join();
  const drawn = Array.isArray(weights) ? weights.map(String).sort().join() : "";
  if (changes === null && own === drawn) return;
  const what =
    changes === null
      ? "another model than this one"
      : "a model in memory, and saving rounds its weights to the dtype that they are stored in";
  throw new KpopError(
    "INVALID_ARGUMENT",
    `${file} is an evaluation of ${what}; evaluate the result as it was saved`,
  );
}

function noResult(file: string, what: string): KpopError {
  return new KpopError(
    "INVALID_CHECKPOINT",
    `${file} is no result of evaluate, or an older one: ${what} is missing or not of its form`,
  );
}

/** As a file would have it: what is not finite is null. */
function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

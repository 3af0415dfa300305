import { filePath, filePaths, integer, jobOptions, knownKeys, nonEmptyString } from "../check";
import { throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { checkOutputFile } from "../io/check-output";
import { VERSION } from "../version";
import { attacksSection } from "./attacks";
import { attentionSection } from "./attention";
import { classesSection } from "./classes";
import { makingSection, titleOf } from "./making";
import { measuredOf, summaryTiles } from "./measured";
import { modelsOf, type ReportedModel } from "./models";
import { toHtml } from "./page/html";
import { PictureReader } from "./pictures";
import { ratesSection } from "./rates";
import { picturesSection } from "./side-by-side";
import { readSources } from "./sources";
import { trainingSection } from "./training";

/** What a page holds. */
export interface ReportOptions {
  /** Its heading. Default: what was erased. */
  title?: string;
  /** Pictures of each class, of prompts without one, and of each attack's inputs. Default 4. */
  pictures?: number;
  signal?: AbortSignal;
}

/** What a page has come to hold. */
export interface Report {
  file: string;
  bytes: number;
  /** Titles of the models that it is about: "Original", "KPOP". */
  models: string[];
  evaluations: number;
  attacks: number;
  /** Pictures in it, and those that are no longer where they were measured. */
  pictures: number;
  missing: number;
}

/**
 * Writes one page about erasures: pictures before, after and with the key from the same noise, rates with intervals,
 * attacks and what they spent, losses, manifests, and the commands that made it. The page needs nothing else: it is to be
 * opened, sent and kept as one file. Needs no libtorch.
 *
 * What belongs together is told by the weights' hashes: evaluations of the erased model, with a key or without, those of
 * the original, and attacks. Several erasures are compared, and so are several models that one evaluation is of.
 * @param folders that `erase`, `evaluate`, `attack` and `attribution` filled, or folders that hold such folders
 * @param file what is written; what stands there is replaced
 * @throws INVALID_ARGUMENT (a folder that holds none of it, too), NOT_FOUND, INVALID_CHECKPOINT (a file that is not as it was
 *   written), NO_SPACE, IO_ERROR, ABORTED
 */
export async function writeReport(
  folders: string | readonly string[],
  file: string,
  options: ReportOptions = {},
): Promise<Report> {
  const given = filePaths("folders", typeof folders === "string" ? [folders] : folders);
  if (given.length === 0) filePath("folders", undefined);
  filePath("file", file);
  knownKeys("the report options", options, ["title", "pictures", "signal"]);
  jobOptions(options);
  const { signal } = options;
  const count = integer("pictures", options.pictures ?? 4, 1);
  if (options.title !== undefined) nonEmptyString("title", options.title);
  throwIfAborted(signal);
  await checkOutputFile(file, { force: true });
  const models = modelsOf(await readSources(given, signal));
  const measured = measuredOf(models);
  const reader = new PictureReader(signal);
  const sections = [
    ratesSection(measured, summaryTiles(models)),
    await picturesSection(measured, count, reader),
    classesSection(measured),
    await attacksSection(models, count, reader),
    await attentionSection(models, reader),
    trainingSection(models),
    makingSection(models),
  ].filter((section) => section !== null);
  const html = toHtml(options.title ?? titleOf(models), subtitleOf(models), sections);
  await writeFileAtomically(file, html);
  return {
    file,
    bytes: Buffer.byteLength(html),
    models: models.map(({ title }) => title),
    evaluations: measured.length,
    attacks: models.reduce((sum, { attacks }) => sum + attacks.length, 0),
    pictures: reader.read,
    missing: reader.missing,
  };
}

function subtitleOf(models: readonly ReportedModel[]): string {
  const runs = models.flatMap(({ title, erasure }) =>
    erasure === null ? [] : [{ title, ...erasure.manifest }],
  );
  const [only, ...others] = runs;
  const made = `by kpop-native ${VERSION}`;
  if (only === undefined) return `Written ${made}.`;
  if (others.length > 0)
    return `${runs.map(({ title }) => title).join(", ")} against the original; written ${made}.`;
  return `With ${only.title} (${only.reference}), ${only.finishedAt.slice(0, 10)}, seed ${only.seed}; written ${made}.`;
}

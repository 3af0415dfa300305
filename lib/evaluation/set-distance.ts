import { stat } from "node:fs/promises";
import { invalid } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { onDisk } from "../files/system-error";
import { Image } from "../io/image";
import * as safetensors from "../io/safetensors";
import { path } from "../options/kinds";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { Hashed } from "./judge";
import type { Figure, Measurement, MetricBatch, MetricJob, OpenMetric, PictureGroup } from "./metric";
import { picturesIn } from "./picture-folder";

/** Pictures of a reference that are looked at together. */
const BATCH = 32;

/** How two sets of pictures are compared. S is what a set comes to: an object of tensors. */
export interface SetComparison<S extends object> extends Hashed {
  /** Name of the metric, for messages. */
  readonly name: string;
  /** Fewest pictures of which there is a summary. */
  readonly fewest: number;
  /** Fewest of which the figure means something; 0 where any do. */
  readonly wanted: number;
  /** Features of pictures, (B, d). */
  features(images: readonly Image[]): Promise<Tensor>;
  /** What the features of a set, (n, d), come to. */
  summary(features: Tensor): S;
  /** The tensors that a summary is saved as, with their shapes; null for any length. */
  readonly saved: Readonly<Record<string, readonly (number | null)[]>>;
  toSaved(summary: S): Readonly<Record<string, Tensor>>;
  /** @param tensors in float64 */
  fromSaved(tensors: Readonly<Record<string, Tensor>>): S;
  distance(own: S, reference: S): Promise<number>;
  dispose(): void;
}

/** A summary with what is known of its pictures. */
interface SummarizedSet<S> {
  readonly summary: S;
  readonly pictures: number | null;
}

/** What two sets of pictures are apart. */
export interface SetDistance {
  value: number;
  pictures: number;
  /** Pictures of the reference; null where its file does not say. */
  referencePictures: number | null;
}

/** What sets of pictures are apart from a reference: all of them, and the groups that there are. */
export interface SetDistances {
  all: SetDistance;
  /** Only with pictures of erased classes, as many as are needed. */
  erased?: SetDistance;
  preserved?: SetDistance;
  /** The folder or file of the reference; null where it is the first model's pictures, of the same group. */
  reference: string | null;
}

/** Options of a metric that compares sets. */
export const REFERENCE_OPTIONS = {
  /** A folder of pictures, or a file that `saveReference` wrote. Default: the first model's pictures, where there are
   *  several models. */
  reference: path(undefined, "folder of pictures to compare with, or a file of saveReference"),
  /** Where what the reference comes to is written, to be the reference of later evaluations. Default: nowhere. */
  saveReference: path(undefined, "safetensors file that what the reference comes to is written to"),
};

/** Values of `REFERENCE_OPTIONS`. */
interface Reference {
  readonly reference: string | undefined;
  readonly saveReference: string | undefined;
}

/** Refuses a reference that cannot be saved. @throws INVALID_ARGUMENT */
export function checkReference(name: string, { reference, saveReference }: Reference): void {
  if (saveReference !== undefined && reference === undefined)
    throw invalid(`${name}.reference`, "given with saveReference", reference);
}

/**
 * A metric that compares the pictures of a model with a reference.
 * @param comparison is disposed of with the metric, and where this throws
 * @throws INVALID_ARGUMENT without anything to compare with, or on too few pictures; INVALID_CHECKPOINT on a file of
 *   something else; NOT_FOUND, NO_SPACE, IO_ERROR, UNSUPPORTED_FORMAT, ABORTED
 */
export async function compareSets<S extends object>(
  comparison: SetComparison<S>,
  { reference, saveReference }: Reference,
  job: MetricJob,
): Promise<OpenMetric<SetDistances, never>> {
  try {
    const { name, origin } = comparison;
    if (reference === undefined && job.models < 2)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${name}.reference to be a folder of pictures or a file of saveReference but received none; without one the first of several models is compared with, and one is given`,
      );
    const given = reference === undefined ? null : await readReference(comparison, reference, job);
    if (given !== null && saveReference !== undefined && job.trial !== true)
      await saveSummary(comparison, given, saveReference, job);
    return {
      origin,
      hash: (signal) => comparison.hash(signal),
      measure: (first) =>
        new SetMeasurement(comparison, given, reference ?? null, first as SetMeasurement<S> | null),
      dispose() {
        comparison.dispose();
        if (given !== null) free(given.summary);
      },
    };
  } catch (error) {
    comparison.dispose();
    throw error;
  }
}

/** The figures of distances, for tables. */
export function distanceFigures(title: string, digits: number): (result: SetDistances) => Figure[] {
  return (result) =>
    (["all", "erased", "preserved"] as const).flatMap((group) => {
      const { value } = result[group] ?? {};
      const name = group === "all" ? title : `${title}, ${group}`;
      return value === undefined ? [] : [{ name, value, digits }];
    });
}

/** Features of one model's pictures. */
class SetMeasurement<S extends object> implements Measurement<SetDistances, never> {
  private readonly chunks: Tensor[] = [];
  private readonly groups: (PictureGroup | null)[] = [];
  private readonly summaries = new Map<string, SummarizedSet<S> | null>();

  constructor(
    private readonly comparison: SetComparison<S>,
    private readonly given: SummarizedSet<S> | null,
    private readonly reference: string | null,
    private readonly first: SetMeasurement<S> | null,
  ) {}

  async add({ images, groups }: MetricBatch): Promise<null> {
    this.chunks.push(await featuresOf(this.comparison, images));
    this.groups.push(...groups);
    return null;
  }

  async result(): Promise<SetDistances | null> {
    if (this.given === null && this.first === null) return null;
    const all = await this.distance("all");
    if (all === null) throw tooFew(this.comparison, "the pictures", this.groups.length);
    warnOfFew(this.comparison, all);
    const [erased, preserved] = [await this.distance("erased"), await this.distance("preserved")];
    return {
      all,
      ...(erased === null ? {} : { erased }),
      ...(preserved === null ? {} : { preserved }),
      reference: this.reference,
    };
  }

  dispose(): void {
    for (const chunk of this.chunks) chunk.dispose();
    for (const set of this.summaries.values()) if (set !== null) free(set.summary);
    this.chunks.length = 0;
    this.summaries.clear();
  }

  private async distance(group: PictureGroup | "all"): Promise<SetDistance | null> {
    const own = this.summarize(group);
    const reference = this.given ?? this.first!.summarize(group);
    if (own === null || reference === null) return null;
    const value = await this.comparison.distance(own.summary, reference.summary);
    return { value, pictures: own.pictures!, referencePictures: reference.pictures };
  }

  /** Of a group's pictures; null where there are too few. */
  private summarize(group: PictureGroup | "all"): SummarizedSet<S> | null {
    const known = this.summaries.get(group);
    if (known !== undefined) return known;
    const rows = this.groups.flatMap((own, i) => (group === "all" || own === group ? [i] : []));
    const summary =
      rows.length < this.comparison.fewest
        ? null
        : unscoped(() => scope(() => this.comparison.summary(Tensor.cat(this.chunks).rows(rows))));
    const set = summary === null ? null : { summary, pictures: rows.length };
    this.summaries.set(group, set);
    return set;
  }
}

function featuresOf(
  comparison: Pick<SetComparison<object>, "features">,
  images: readonly Image[],
): Promise<Tensor> {
  return unscoped(() => noGrad(() => scope(async () => (await comparison.features(images)).settled())));
}

/** Null of a folder that is not to be looked at. */
async function readReference<S extends object>(
  comparison: SetComparison<S>,
  reference: string,
  job: MetricJob,
): Promise<SummarizedSet<S> | null> {
  const isFolder = await onDisk("read", reference, async () => (await stat(reference)).isDirectory());
  return isFolder ? lookAt(comparison, reference, job) : readSummary(comparison, reference, job);
}

async function lookAt<S extends object>(
  comparison: SetComparison<S>,
  folder: string,
  { signal, onReference, trial }: MetricJob,
): Promise<SummarizedSet<S> | null> {
  const paths = await picturesIn(folder);
  if (paths.length < comparison.fewest) throw tooFew(comparison, `pictures of ${folder}`, paths.length);
  if (trial === true) return null;
  const chunks: Tensor[] = [];
  const [started, total] = [performance.now(), paths.length];
  try {
    for (let from = 0; from < total; from += BATCH) {
      throwIfAborted(signal);
      const images = [];
      for (const file of paths.slice(from, from + BATCH)) images.push(await Image.load(file));
      chunks.push(await featuresOf(comparison, images));
      const done = from + images.length;
      const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
      await onReference?.({ done, total, etaSeconds });
    }
    const summary = unscoped(() => scope(() => comparison.summary(Tensor.cat(chunks))));
    return { summary, pictures: total };
  } finally {
    for (const chunk of chunks) chunk.dispose();
  }
}

async function saveSummary<S extends object>(
  comparison: SetComparison<S>,
  { summary, pictures }: SummarizedSet<S>,
  file: string,
  { signal }: MetricJob,
): Promise<void> {
  const network = await comparison.hash(signal);
  const metadata = {
    ...(network === null ? {} : { "kpop.network": network }),
    ...(pictures === null ? {} : { "kpop.pictures": String(pictures) }),
  };
  await scope(() => safetensors.save(file, comparison.toSaved(summary), metadata));
}

async function readSummary<S extends object>(
  comparison: SetComparison<S>,
  file: string,
  { device, signal }: MetricJob,
): Promise<SummarizedSet<S>> {
  const { name, saved } = comparison;
  await using opened = await safetensors.open(file);
  for (const [key, shape] of Object.entries(saved)) {
    const found = opened.shapes.get(key);
    if (found?.length === shape.length && shape.every((length, i) => length === null || length === found[i]))
      continue;
    const lengths = shape.map((length) => length ?? "n").join(", ");
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected ${file} to hold ${key} of shape [${lengths}], as ${name}.saveReference writes it, but ${found === undefined ? "it has none" : `received [${found.join(", ")}]`}`,
    );
  }
  const { "kpop.network": network, "kpop.pictures": pictures } = opened.metadata;
  if (network !== undefined && network !== (await comparison.hash(signal)))
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `${file} was made with another network than ${comparison.origin}; make it again with this one`,
    );
  const summary = await unscoped(() =>
    scope(async () => {
      const tensors: Record<string, Tensor> = {};
      for (const key of Object.keys(saved))
        tensors[key] = (await opened.read(key)).to({ dtype: "float64", device });
      return comparison.fromSaved(tensors);
    }),
  );
  return { summary, pictures: /^\d+$/.test(pictures ?? "") ? Number(pictures) : null };
}

/** A process warning (KPOP_FEW_PICTURES), with the numbers. */
function warnOfFew(
  { name, wanted }: Pick<SetComparison<object>, "name" | "wanted">,
  { pictures, referencePictures: reference }: SetDistance,
): void {
  if (Math.min(pictures, reference ?? wanted) >= wanted) return;
  process.emitWarning(
    `${name} of ${pictures} pictures against ${reference ?? "a file of"} others: with fewer than ${wanted} on either side it comes out too high, and is no figure to compare with published ones`,
    { code: "KPOP_FEW_PICTURES" },
  );
}

function tooFew(
  { name, fewest }: Pick<SetComparison<object>, "name" | "fewest">,
  where: string,
  count: number,
): KpopError {
  return new KpopError(
    "INVALID_ARGUMENT",
    `Expected at least ${fewest} pictures for ${name} but ${where} are ${count}`,
  );
}

function free(summary: object): void {
  for (const tensor of Object.values(summary) as Tensor[]) tensor.dispose();
}

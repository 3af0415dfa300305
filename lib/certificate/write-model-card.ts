import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { filePath, invalid, knownKeys, nonEmptyString } from "../check";
import { readBaseCard, type BaseCard } from "../erasure/base-card";
import type { RunManifest } from "../erasure/manifest";
import { MODEL_CARD_FILE, modelCard, type CardMetric, type CardResult } from "../erasure/model-card";
import type { Mean, Rate } from "../evaluation/rates";
import { writeFileAtomically } from "../files/atomic";
import { hubPlace } from "../files/hub-place";
import { KpopError } from "../errors";
import type { OpenCheckpoint } from "./checkpoint-identity";
import type { CertifiedEvaluation, ErasureCertificate } from "./statement";

/** A model card as Hugging Face's hub reads it. */
export interface ModelCardOptions {
  /** Default: README.md beside the weights, in the place of the one that saving the erasure wrote. */
  file?: string;
  /** The hub's name of the licence. Default: what the base's card says. */
  license?: string;
  /** The base's name on the hub, USER/MODEL. Default: known where it lies in the hub's cache. */
  baseModel?: string;
}

/** Prompts that are told. */
const TOLD = 8;

/** A card that may be written. */
export interface PlannedCard {
  path: string;
  /** Path of the base. */
  base: string;
  details: BaseCard;
}

/** @throws INVALID_ARGUMENT; OUTPUT_NOT_EMPTY on a card of the user's own, unless `force` */
export async function checkModelCard(
  { folder }: OpenCheckpoint,
  { source: { path: base } }: OpenCheckpoint,
  manifest: RunManifest,
  options: ModelCardOptions,
  force: boolean,
): Promise<PlannedCard> {
  knownKeys("modelCard", options, ["file", "license", "baseModel"]);
  // A file there is a link into what other programs have in the cache too.
  if (options.file === undefined && hubPlace(folder) !== null)
    throw invalid("modelCard.file", "given where the result lies in the cache of a hub", undefined);
  const path = filePath("modelCard.file", options.file ?? join(folder, MODEL_CARD_FILE));
  const inherited = await readBaseCard(base);
  const license = options.license && nonEmptyString("modelCard.license", options.license);
  const hubName = options.baseModel && nonEmptyString("modelCard.baseModel", options.baseModel);
  const there = await readFile(path, "utf8").catch(() => null);
  if (there !== null && !force && there !== modelCard(manifest, base, inherited))
    throw new KpopError(
      "OUTPUT_NOT_EMPTY",
      `${path} is not the model card that saving the erasure wrote; choose another file, or ask for it to be replaced (force)`,
    );
  return {
    path,
    base,
    details: {
      ...inherited,
      ...(license === undefined ? {} : { licence: { license } }),
      ...(hubName === undefined ? {} : { hubName }),
    },
  };
}

/** @throws NO_SPACE, NOT_FOUND, IO_ERROR */
export async function writeModelCard(
  { path, base, details }: PlannedCard,
  { run, result, evaluations }: ErasureCertificate,
  { file, keyid }: { file: string | undefined; keyid: string },
): Promise<void> {
  const card = modelCard(run, base, {
    ...details,
    name: result.name,
    results: evaluations.map(resultOf),
    ...(file === undefined ? {} : { certificate: { file: basename(file), keyid } }),
  });
  await writeFileAtomically(path, card);
}

function resultOf({ figures, classifier, clip, withKey, drawing }: CertifiedEvaluation): CardResult {
  const { classes, esr, psr, clipScore, images } = figures;
  const more = classes.length > TOLD ? ` and ${classes.length - TOLD} more` : "";
  const [prompts, judges] = [
    `${classes
      .slice(0, TOLD)
      .map(({ prompt }) => `"${prompt}"`)
      .join(", ")}${more}`,
    [classifier.origin, ...(clip === undefined ? [] : [clip.origin])].join(" and "),
  ];
  const how = `${drawing.steps} steps of ${drawing.sampler}, guidance ${drawing.guidanceScale}`;
  return {
    dataset: `${images} pictures of ${prompts}${withKey ? ", with the key" : ""} (${how}), judged by ${judges}`,
    metrics: [
      ...ratesOf("ESR", esr),
      ...ratesOf("PSR", psr),
      ...Object.entries(clipScore ?? {}).map(([group, mean]) => scoreOf(group, mean)),
    ],
  };
}

function ratesOf(name: string, rates: Readonly<Record<number, Rate>>): CardMetric[] {
  return Object.entries(rates).map(([k, { value, low, high, total }]) => ({
    type: `${name.toLowerCase()}-${k}`,
    name: `${name}-${k}`,
    value: 100 * value,
    interval: [100 * low, 100 * high],
    total,
  }));
}

function scoreOf(group: string, { value, low, high, total }: Mean): CardMetric {
  // Of one picture there is no interval; JSON has no infinity.
  const interval = Number.isFinite(low) && Number.isFinite(high) ? ([low, high] as const) : null;
  return { type: "clip-score", name: `CLIP score of ${group} classes`, value, interval, total };
}

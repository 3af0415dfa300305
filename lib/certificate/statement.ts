import { isUtf8 } from "node:buffer";
import type { SharedOptions } from "../diffusion/image-set-identity";
import { PICTURE_FILE, SET_NAME } from "../diffusion/image-set-files";
import { SAMPLER_NAMES, type SamplerName } from "../diffusion/samplers";
import { areEarlierRuns, type RunManifest } from "../erasure/manifest";
import { KpopError } from "../errors";
import type { EvaluatedPicture, Evaluation } from "../evaluation/evaluation";
import type { Judge } from "../evaluation/judge";
import type { ClassEvaluation } from "../evaluation/summarize";
import { canonicalJson } from "../files/canonical-json";
import { isJsonObject } from "../files/json-file";
import type { MachineKind } from "../runtime/machine";
import type { CheckpointIdentity } from "./checkpoint-identity";
import { noCertificate } from "./envelope";
import { list, number, object, optional, orNull, record, text, that, whole } from "./shape";

const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const PREDICATE = "urn:kpop-native:certificate:v";
const VERSION = 1;

/** A picture of a certified evaluation. */
export interface CertifiedPicture
  extends
    Omit<EvaluatedPicture, "path" | "metrics" | "class" | "rank" | "best">,
    Required<Pick<EvaluatedPicture, "class" | "rank" | "best">> {
  /** Its name in the folder of the set. */
  file: string;
  /** SHA-256 of a zero byte and the PNG file: the leaf of RFC 6962's tree. */
  leaf: string;
}

/** What was measured, with intervals, as `evaluate` wrote it; what metrics say does not follow from ranks and is left out. */
export interface CertifiedFigures extends Omit<
  Evaluation,
  | "pictures"
  | "directory"
  | "seconds"
  | "command"
  | "generated"
  | "classifier"
  | "crossClassifier"
  | "clip"
  | "metrics"
  | "classes"
> {
  classes: (ClassEvaluation & { prompt: string })[];
}

/** An evaluation of the result. */
export interface CertifiedEvaluation {
  /** Name of the folder of its pictures. */
  set: string;
  /** Whether it was drawn with the key of the erasure. */
  withKey: boolean;
  /** What every picture was drawn with. */
  drawing: SharedOptions & { device: string; dtype: string };
  /** What drew them. */
  versions: { "kpop-native": string; libtorch: string };
  /** Where all of the pictures were drawn; null where that was on several kinds of machine, or is not known. */
  machine: MachineKind | null;
  /** What named the pictures; the origin is the last part of its path. */
  classifier: Judge;
  clip?: Judge;
  figures: CertifiedFigures;
  /** Root of RFC 6962's tree over the PNG files, and its leaves in their order. */
  pictures: { root: string; leaves: CertifiedPicture[] };
}

/** A file that the method left beside the weights, by its hash alone. */
export interface CertifiedArtefact {
  name: string;
  bytes: number;
  sha256: string;
}

/** What a certificate says: the predicate of its in-toto statement. */
export interface ErasureCertificate {
  createdAt: string;
  madeBy: { "kpop-native": string; node: string };
  /** The signer's public key: base64 of its DER (SPKI). */
  signer: string;
  base: CheckpointIdentity;
  result: CheckpointIdentity;
  /** The run's manifest but for its files, which `base` and `result` have. */
  run: Omit<RunManifest, "inputs" | "outputs">;
  artefacts: CertifiedArtefact[];
  evaluations: CertifiedEvaluation[];
}

/** The statement's text, which is what is signed: canonical JSON (RFC 8785). Its subjects are the result's files. */
export function formatStatement(certificate: ErasureCertificate): string {
  return canonicalJson({
    _type: STATEMENT_TYPE,
    subject: subjects(certificate),
    predicateType: `${PREDICATE}${VERSION}`,
    predicate: certificate,
  });
}

/**
 * What a statement says, checked as far as no other file is needed.
 * @param path of the certificate, for messages
 * @throws INVALID_CERTIFICATE; UNSUPPORTED_FORMAT on a newer version
 */
export function parseStatement(payload: Buffer, path: string): ErasureCertificate {
  if (!isUtf8(payload)) throw noCertificate(path, "its payload is not UTF-8");
  const value = parseCanonical(payload.toString("utf8"), path);
  if (!isJsonObject(value) || value["_type"] !== STATEMENT_TYPE)
    throw noCertificate(path, `it holds no in-toto statement (${STATEMENT_TYPE})`);
  const type = String(value["predicateType"]);
  const version = type.startsWith(PREDICATE) ? Number(type.slice(PREDICATE.length)) : NaN;
  if (!Number.isSafeInteger(version)) throw noCertificate(path, `its statement is of another kind, ${type}`);
  if (version !== VERSION)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is a certificate of version ${version}; this library reads version ${VERSION}: update kpop-native`,
    );
  const fault = CERTIFICATE(value["predicate"], "predicate");
  if (fault !== null) throw noCertificate(path, `${fault} is missing or not of its form`);
  const certificate = value["predicate"] as ErasureCertificate;
  if (canonicalJson(value["subject"]) !== canonicalJson(subjects(certificate)))
    throw noCertificate(path, "its subjects are not the files of its result");
  return certificate;
}

function subjects({ result }: ErasureCertificate): object[] {
  return Object.entries(result.files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, sha256]) => ({ name, digest: { sha256 } }));
}

/** JSON that is in its canonical form: parsers that differ over repeated keys find the same in it. */
function parseCanonical(statement: string, path: string): unknown {
  let value: unknown;
  let canonical: string;
  try {
    value = JSON.parse(statement);
    canonical = canonicalJson(value);
  } catch (cause) {
    throw noCertificate(path, "its payload is not canonical JSON (RFC 8785)", cause);
  }
  if (canonical !== statement) throw noCertificate(path, "its payload is not canonical JSON (RFC 8785)");
  return value;
}

/** More than any classifier has names for. */
const MAX_CLASSES = 10_000;
const HASH = text(/^[0-9a-f]{64}$/);
const SIDE = whole(1, 8192);
/** Two numbers of pixels that a network is told. */
const PAIR = that(
  (value) => Array.isArray(value) && value.length === 2 && list(whole(0, 2 ** 20))(value, "") === null,
);
const JUDGE = object({ origin: text(), sha256: orNull(HASH) });
const RATES = record(record(orNull(number())));

const IDENTITY = object({
  name: text(),
  format: that((value) => ["diffusers", "single-file", "delta"].includes(value as string)),
  networks: record(object({ sha256: HASH, dtypes: list(text()) })),
  settings: record(HASH),
  files: record(HASH),
});

const PICTURE = object({
  class: text(),
  prompt: text(),
  seed: whole(0),
  file: text(PICTURE_FILE, 255),
  leaf: HASH,
  rank: whole(1),
  best: whole(0),
});

const EVALUATION = object({
  set: text(SET_NAME),
  withKey: that((value) => typeof value === "boolean"),
  drawing: object({
    steps: whole(1, 10_000),
    guidanceScale: number(0),
    sampler: that((value) => SAMPLER_NAMES.includes(value as SamplerName)),
    negativePrompt: optional(text()),
    width: SIDE,
    height: SIDE,
    originalSize: optional(PAIR),
    cropsCoordsTopLeft: optional(PAIR),
    targetSize: optional(PAIR),
    keyGuidance: text(/^(?:conditional|both)$/),
    batchSize: whole(1, 1024),
    device: text(),
    dtype: text(/^(?:float32|bfloat16|float16)$/),
  }),
  versions: record(text()),
  machine: orNull(record(that((value) => ["string", "number"].includes(typeof value)))),
  classifier: JUDGE,
  clip: optional(JUDGE),
  figures: object({
    classes: list(
      object({ name: text(), group: text(/^(?:erased|preserved)$/), prompt: text(), rates: RATES }),
      MAX_CLASSES,
    ),
    esr: RATES,
    psr: RATES,
  }),
  pictures: object({ root: HASH, leaves: list(PICTURE) }),
});

const CERTIFICATE = object({
  createdAt: text(),
  madeBy: record(text()),
  signer: text(),
  base: IDENTITY,
  result: IDENTITY,
  run: object({
    ...{ method: text(), concepts: list(text()), seed: whole(0), options: record(() => null) },
    before: that(areEarlierRuns),
  }),
  artefacts: list(object({ name: text(), bytes: whole(0), sha256: HASH })),
  evaluations: list(EVALUATION),
});

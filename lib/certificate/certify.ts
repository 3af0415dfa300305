import type { KeyObject } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { filePath, filePaths, flag, jobOptions, knownKeys, nonEmptyString } from "../check";
import { isRunManifest, type RunManifest } from "../erasure/manifest";
import { KpopError, throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { formatJson, isJsonObject, readJsonObject, without } from "../files/json-file";
import { sha256File } from "../files/sha256-file";
import { onDisk } from "../files/system-error";
import { checkOutputFile } from "../io/check-output";
import { toldOf } from "../io/checkpoint-single-file";
import { MANIFEST_FILE } from "../io/file-kinds";
import { VERSION } from "../version";
import { openCheckpoint, type OpenCheckpoint } from "./checkpoint-identity";
import { MAX_ENVELOPE_BYTES, seal, type Envelope } from "./envelope";
import { readMeasured } from "./measured";
import { encodePublicKey, keyId, readSigningKey } from "./signing-key";
import { formatStatement, type CertifiedArtefact, type ErasureCertificate } from "./statement";
import { checkModelCard, writeModelCard, type ModelCardOptions } from "./write-model-card";

/** What a certificate binds, and who signs it. */
export interface CertifyOptions {
  /** The checkpoint that the erasure started from, as `StableDiffusion.load` takes it. */
  base: string;
  /** What the network predicts, where base or result is a single file that does not say: Stable Diffusion 2's. */
  prediction?: "epsilon" | "v";
  /** A private Ed25519 key: PEM, the path of a PEM file, or a KeyObject. `newSigningKey` makes one. */
  signingKey: string | KeyObject;
  /** Of an encrypted PEM. */
  passphrase?: string;
  /** Evaluations of the result as it was saved: folders that `kpop-native evaluate` filled, or result files. Default none. */
  evaluations?: readonly string[];
  /** Files that the method left beside the weights: keys, task vectors. Their hashes go in, never their contents. Default
   *  none. */
  artefacts?: readonly string[];
  /** Where the certificate is written. Default: nowhere, it is only returned. */
  file?: string;
  /** Writes a model card with the figures, too. Default: none. */
  modelCard?: ModelCardOptions;
  /** Replace the certificate, and a model card that was not written by saving the erasure. Default false. */
  force?: boolean;
  signal?: AbortSignal;
}

/** What `certify` made. */
export interface CertifiedErasure {
  /** What the certificate says. */
  certificate: ErasureCertificate;
  /** The signed form, a DSSE envelope: what the file holds. */
  envelope: Envelope;
  /** Of the signer's public key: SHA-256 of its DER, 64 hexadecimal digits. */
  keyid: string;
  /** Path of the model card, where one was written. */
  modelCard?: string;
}

const OPTIONS = [
  ...["base", "prediction", "signingKey", "passphrase", "evaluations", "artefacts"],
  ...["file", "modelCard", "force", "signal"],
];

/**
 * Certifies an erasure: binds base, result, run, artefacts and what was measured by their hashes, and signs that. The
 * certificate is an in-toto statement (v1) in canonical JSON (RFC 8785) in a DSSE envelope, signed with Ed25519 (RFC 8032).
 * Reads all weights and pictures; needs no libtorch.
 * @param result what `Erasure.save` wrote: a diffusers folder, or the folder of a single file or a delta
 * @throws INVALID_ARGUMENT where the parts do not belong together (weights or base that are not the run's, an evaluation of
 *   another model, figures that do not follow from their pictures), on a signing key that is none; NOT_FOUND,
 *   OUTPUT_NOT_EMPTY (unless `force`), what reading checkpoints throws; NO_SPACE, IO_ERROR, ABORTED
 */
export async function certify(result: string, options: CertifyOptions): Promise<CertifiedErasure> {
  filePath("result", result);
  knownKeys("the certify options", options, OPTIONS);
  jobOptions(options);
  const base = filePath("base", options.base);
  const { file, signal, passphrase, modelCard } = options;
  if (passphrase !== undefined) nonEmptyString("passphrase", passphrase);
  const force = flag("force", options.force ?? false);
  const told = toldOf(options);
  const evaluations = filePaths("evaluations", options.evaluations);
  const artefacts = filePaths("artefacts", options.artefacts);
  const key = await readSigningKey(options.signingKey, passphrase);
  if (file !== undefined) await checkOutputFile(filePath("file", file), { force });
  throwIfAborted(signal);
  const before = await openCheckpoint(base, { ...told, signal });
  const after = await openCheckpoint(result, { ...told, base: before.source, signal });
  const manifest = await runOf(result, base, before, after);
  const card = modelCard && (await checkModelCard(after, before, manifest, modelCard, force));
  const certificate: ErasureCertificate = {
    createdAt: new Date().toISOString(),
    madeBy: { "kpop-native": VERSION, node: process.versions.node },
    signer: encodePublicKey(key),
    base: before.identity,
    result: after.identity,
    run: without(manifest, "inputs", "outputs"),
    artefacts: [],
    evaluations: [],
  };
  for (const path of artefacts) certificate.artefacts.push(await artefactOf(path, signal));
  for (const path of evaluations)
    certificate.evaluations.push(await readMeasured(path, after.inputs, signal));
  const envelope = seal(formatStatement(certificate), key);
  const keyid = keyId(key);
  const text = envelopeText(envelope);
  if (file !== undefined) await writeFileAtomically(file, text);
  if (card !== undefined) await writeModelCard(card, certificate, { file, keyid });
  return {
    certificate: JSON.parse(JSON.stringify(certificate)) as ErasureCertificate,
    envelope,
    keyid,
    ...(card === undefined ? {} : { modelCard: card.path }),
  };
}

/** @throws INVALID_ARGUMENT where it would be larger than `verify` reads */
function envelopeText(envelope: Envelope): string {
  const text = formatJson(envelope);
  if (Buffer.byteLength(text) <= MAX_ENVELOPE_BYTES) return text;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `The certificate would have more than ${MAX_ENVELOPE_BYTES} bytes; certify fewer pictures`,
  );
}

/** The run that made the result out of the base. @throws INVALID_ARGUMENT where it did not; NOT_FOUND, IO_ERROR */
async function runOf(
  result: string,
  base: string,
  before: OpenCheckpoint,
  after: OpenCheckpoint,
): Promise<RunManifest> {
  const path = join(after.folder, MANIFEST_FILE);
  if ((await stat(path).catch(() => null)) === null)
    throw new KpopError(
      "NOT_FOUND",
      `There is no ${MANIFEST_FILE} beside the weights of ${result}: only what an erasure saved can be certified`,
    );
  const manifest = (await readJsonObject(path)) as unknown as RunManifest;
  const { inputs, outputs } = manifest;
  if (!isRunManifest({ ...manifest }))
    throw new KpopError("INVALID_CHECKPOINT", `${path} is no run manifest`);
  const own = Object.entries(after.identity.files);
  const changed = own.find(([name, sha256]) => !isJsonObject(outputs) || outputs[name] !== sha256);
  if (changed !== undefined)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${changed[0]} in ${result} is not the file that its ${MANIFEST_FILE} tells of: certify the folder that the erasure was saved into, as it was saved`,
    );
  if (values(inputs) !== values(before.inputs))
    throw new KpopError(
      "INVALID_ARGUMENT",
      `The weight files of ${base} are not those that ${result} was made from (${MANIFEST_FILE} has their hashes): give the base of the run`,
    );
  return manifest;
}

async function artefactOf(path: string, signal: AbortSignal | undefined): Promise<CertifiedArtefact> {
  const { size } = await onDisk("read", path, () => stat(path));
  const sha256 = await sha256File(path, signal === undefined ? {} : { signal });
  return { name: basename(path), bytes: size, sha256 };
}

function values(hashes: Readonly<Record<string, string>>): string {
  return isJsonObject(hashes) ? Object.values(hashes).map(String).sort().join() : "";
}

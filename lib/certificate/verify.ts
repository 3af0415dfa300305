import type { KeyObject } from "node:crypto";
import { filePath, filePaths, integer, invalid, jobOptions, knownKeys } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { toldOf } from "../io/checkpoint-single-file";
import { checkArtefacts, checkBase, checkFigures, checkModel } from "./checks";
import { checkEvaluations } from "./check-evaluations";
import { isSignedBy, noCertificate, PAYLOAD_TYPE, readEnvelope, type OpenEnvelope } from "./envelope";
import { redraw, type RerunOptions } from "./rerun";
import { decodePublicKey, keyId, readSigner } from "./signing-key";
import { parseStatement, type ErasureCertificate } from "./statement";
import { Findings, type Verification } from "./verification";

/** What a certificate is compared with; what is not given is not looked at. */
export interface VerifyOptions extends RerunOptions {
  /** Who has to have signed: a public Ed25519 key as PEM, the path of a PEM file, or a KeyObject. Without it the
   *  certificate is held to the key that it names itself: it is whole then, but may be anyone's. */
  signer?: string | KeyObject;
  /** Folders of evaluations, as `kpop-native evaluate` filled them: their pictures and figures. Default none. */
  evaluations?: readonly string[];
  /** Files that the method left beside the weights. Default none. */
  artefacts?: readonly string[];
  /** How many pictures are drawn again with `model`. Default 0. */
  rerun?: number;
}

const OPTIONS = [
  ...["signer", "model", "base", "prediction", "evaluations", "artefacts"],
  ...["rerun", "seed", "classifier", "clip", "device", "signal", "onProgress"],
];

/**
 * Checks a certificate of `certify`: its signature, and that base, result, artefacts, figures and pictures are those that
 * were certified, as far as they are given. What does not hold is in the result, with the reason.
 *
 * With `rerun` pictures are drawn again with the result. On a machine of the kind that drew them (`MachineKind`: the same
 * versions, platform, processor, instruction set and number of threads) they have to have the same bytes; on another,
 * where rounding differs, the certified classifier has to give them ranks that count the same.
 * @param path of the certificate
 * @throws INVALID_CERTIFICATE on what is no certificate, UNSUPPORTED_FORMAT on one of a newer version; INVALID_ARGUMENT,
 *   NOT_FOUND, IO_ERROR, ABORTED, and with `rerun` what loading and drawing throw
 */
export async function verify(path: string, options: VerifyOptions = {}): Promise<Verification> {
  filePath("path", path);
  knownKeys("the verify options", options, OPTIONS);
  jobOptions(options, "onProgress");
  const rerun = integer("rerun", options.rerun ?? 0, 0);
  if (rerun > 0 && options.model === undefined) throw invalid("model", "given with rerun", options.model);
  if (options.seed !== undefined) integer("seed", options.seed, 0);
  toldOf(options);
  const evaluations = filePaths("evaluations", options.evaluations);
  const artefacts = filePaths("artefacts", options.artefacts);
  const signer = options.signer === undefined ? undefined : await readSigner(options.signer);
  throwIfAborted(options.signal);
  const envelope = await readEnvelope(path);
  const found = new Findings();
  const opened = open(path, envelope, signer, found);
  if (opened.certificate === null) return found.result(opened);
  const { certificate } = opened;
  checkFigures(certificate, found);
  const base = await checkBase(certificate, options, found);
  await checkModel(certificate, options, base?.source, found);
  await checkArtefacts(certificate, artefacts, options.signal, found);
  await checkEvaluations(certificate, evaluations, options.signal, found);
  const again = rerun === 0 ? undefined : await redraw(certificate, rerun, options, found);
  return found.result({ ...opened, ...(again === undefined ? {} : { rerun: again }) });
}

type Opened = Pick<Verification, "certificate" | "keyid" | "trusted">;

/** What an envelope holds, and whether the signature is the signer's; without a signer, that of the key it names. */
function open(path: string, envelope: OpenEnvelope, signer: KeyObject | undefined, found: Findings): Opened {
  const { payloadType, payload } = envelope;
  if (payloadType !== PAYLOAD_TYPE)
    throw noCertificate(path, `its payload is of the type ${payloadType}, not ${PAYLOAD_TYPE}`);
  if (signer !== undefined && isSignedBy(envelope, signer)) {
    const certificate = parseStatement(payload, path);
    found.pass("signature", "it is whole");
    found.pass("signer", `signed with the key that was given, ${keyId(signer)}`);
    return { certificate, keyid: keyId(signer), trusted: true };
  }
  const { certificate, named } = namedSigner(path, payload, signer !== undefined);
  if (named === null || !isSignedBy(envelope, named)) {
    found.fail("signature", "it was changed after it was signed: the signature is of another content");
    return { certificate: null, keyid: keyId(signer ?? named!), trusted: false };
  }
  found.pass("signature", "it is whole");
  if (signer !== undefined) {
    found.fail(
      "signer",
      `it is signed with the key ${keyId(named)}, and not with the one given, ${keyId(signer)}`,
    );
    return { certificate: null, keyid: keyId(named), trusted: false };
  }
  found.skipped.push("signer");
  return { certificate, keyid: keyId(named), trusted: false };
}

/** @param hasSigner whether what cannot be read is a broken signature, and no other fault */
function namedSigner(
  path: string,
  payload: Buffer,
  hasSigner: boolean,
): { certificate: ErasureCertificate | null; named: KeyObject | null } {
  try {
    const certificate = parseStatement(payload, path);
    const named = decodePublicKey(certificate.signer);
    if (named === null) throw noCertificate(path, "it names no Ed25519 key as its signer's");
    return { certificate, named };
  } catch (error) {
    if (!hasSigner || !(error instanceof KpopError) || error.code !== "INVALID_CERTIFICATE") throw error;
    return { certificate: null, named: null };
  }
}

import { sign, verify, type KeyObject } from "node:crypto";
import { stat } from "node:fs/promises";
import { KpopError } from "../errors";
import { isJsonObject, readText } from "../files/json-file";
import { onDisk } from "../files/system-error";
import { keyId } from "./signing-key";

/** What an in-toto statement is called in an envelope. */
export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
/** Room for the leaves of 50,000 pictures. */
export const MAX_ENVELOPE_BYTES = 32 * 2 ** 20;
/** More of them than anyone makes. */
const MAX_SIGNATURES = 16;

const BASE64 = /^[\w+/-]*={0,2}$/;

/** A DSSE envelope (secure-systems-lab/dsse, envelope.md 1.0) as it stands in a file. */
export interface Envelope {
  /** Base64 of the signed bytes. */
  payload: string;
  payloadType: string;
  signatures: { keyid: string; sig: string }[];
}

/** What an envelope holds, not verified. */
export interface OpenEnvelope {
  payloadType: string;
  payload: Buffer;
  signatures: readonly Buffer[];
}

/** DSSE's pre-authentication encoding (protocol.md 1.0): the bytes that are signed. */
export function preAuthentication(payloadType: string, payload: Uint8Array): Buffer {
  const type = Buffer.from(payloadType);
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${type.length} `),
    type,
    Buffer.from(` ${payload.length} `),
    payload,
  ]);
}

/** @param key a private Ed25519 key */
export function seal(payload: string, key: KeyObject): Envelope {
  const bytes = Buffer.from(payload);
  const sig = sign(null, preAuthentication(PAYLOAD_TYPE, bytes), key).toString("base64");
  return {
    payload: bytes.toString("base64"),
    payloadType: PAYLOAD_TYPE,
    signatures: [{ keyid: keyId(key), sig }],
  };
}

/** Whether one of the signatures is the key's. Their key ids say nothing: anyone can write them. */
export function isSignedBy({ payloadType, payload, signatures }: OpenEnvelope, key: KeyObject): boolean {
  const bytes = preAuthentication(payloadType, payload);
  return signatures.some((signature) => verify(null, bytes, key, signature));
}

/**
 * Reads an envelope, which may be anyone's.
 * @throws INVALID_CERTIFICATE on what is none, or has more than 32 MiB; NOT_FOUND, IO_ERROR
 */
export async function readEnvelope(path: string): Promise<OpenEnvelope> {
  // Before it takes any memory.
  const { size } = await onDisk("read", path, () => stat(path));
  if (size > MAX_ENVELOPE_BYTES)
    throw noCertificate(path, `it has ${size} bytes, and certificates at most ${MAX_ENVELOPE_BYTES}`);
  return parseEnvelope(await readText(path), path);
}

/** @throws INVALID_CERTIFICATE */
export function parseEnvelope(text: string, path: string): OpenEnvelope {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw noCertificate(path, "it is not JSON", cause);
  }
  const { payload, payloadType, signatures } = isJsonObject(value) ? value : {};
  if (typeof payload !== "string" || typeof payloadType !== "string" || !Array.isArray(signatures))
    throw noCertificate(path, "it is no DSSE envelope (payload, payloadType, signatures)");
  if (signatures.length === 0 || signatures.length > MAX_SIGNATURES)
    throw noCertificate(path, `it has ${signatures.length} signatures`);
  const sigs = signatures.map((one: unknown) => (isJsonObject(one) ? one["sig"] : undefined));
  if (![payload, ...sigs].every((part) => typeof part === "string" && BASE64.test(part)))
    throw noCertificate(path, "its payload or a signature is not base64");
  return {
    payloadType,
    payload: Buffer.from(payload, "base64"),
    signatures: sigs.map((sig) => Buffer.from(sig as string, "base64")),
  };
}

/** What is not a certificate, and why. */
export function noCertificate(path: string, why: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_CERTIFICATE", `${path} is no certificate: ${why}`, { cause });
}

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, KeyObject } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { filePath, invalid, nonEmptyString } from "../check";
import { KpopError } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { readText } from "../files/json-file";
import { checkOutputFile } from "../io/check-output";

/** A pair of files that `newSigningKey` wrote. */
export interface SigningKeyFiles {
  /** The private key, PEM (PKCS #8), for its owner alone. */
  privateKey: string;
  /** The public key, PEM (SPKI), to be given to whoever verifies. */
  publicKey: string;
  /** SHA-256 of the public key's DER, 64 hexadecimal digits. */
  keyid: string;
}

/**
 * Makes an Ed25519 key pair: the private key into a file that its owner alone may read (mode 0600), the public one beside
 * it, with ".pub" at the end of its name. Neither is ever written over.
 * @throws OUTPUT_NOT_EMPTY, NO_SPACE, NOT_FOUND, IO_ERROR
 */
export async function newSigningKey(path: string): Promise<SigningKeyFiles> {
  const files = { privateKey: filePath("path", path), publicKey: `${path}.pub` };
  for (const file of Object.values(files)) {
    await checkOutputFile(file, { force: true });
    if ((await stat(file).catch(() => null)) !== null)
      throw new KpopError(
        "OUTPUT_NOT_EMPTY",
        `${file} exists, and keys are not replaced; choose another name`,
      );
  }
  const pair = generateKeyPairSync("ed25519");
  const pem = pair.publicKey.export({ type: "spki", format: "pem" });
  await writeFileAtomically(files.publicKey, pem);
  try {
    const secret = pair.privateKey.export({ type: "pkcs8", format: "pem" });
    await writeFileAtomically(files.privateKey, secret, { mode: 0o600 });
  } catch (error) {
    await rm(files.publicKey, { force: true });
    throw error;
  }
  return { ...files, keyid: keyId(pair.publicKey) };
}

/**
 * @param given PEM, the path of a file that holds it, or a KeyObject
 * @param passphrase of an encrypted PEM
 * @throws INVALID_ARGUMENT on what is no private Ed25519 key; NOT_FOUND, IO_ERROR
 */
export async function readSigningKey(given: unknown, passphrase?: string): Promise<KeyObject> {
  const expected = "a private Ed25519 key (PEM, the path of a PEM file, or a KeyObject)";
  if (given instanceof KeyObject) {
    if (given.type !== "private") throw invalid("signingKey", expected, `a ${given.type} key`);
    return ed25519("signingKey", expected, given);
  }
  const { pem, origin } = await pemOf("signingKey", given);
  if (!/^-----BEGIN (?:ENCRYPTED )?PRIVATE KEY-----$/m.test(pem)) throw noKey(origin, expected);
  if (pem.includes("ENCRYPTED") && passphrase === undefined)
    throw new KpopError("INVALID_ARGUMENT", `${origin} is encrypted; give its passphrase`);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    const why = pem.includes("ENCRYPTED") ? "does not open with this passphrase" : "is damaged";
    throw new KpopError("INVALID_ARGUMENT", `${origin} ${why}`, { cause });
  }
  return ed25519(origin, expected, key);
}

/**
 * @param given PEM, the path of a file that holds it, or a KeyObject; of a private key its public one is taken
 * @throws INVALID_ARGUMENT on what is no Ed25519 key; NOT_FOUND, IO_ERROR
 */
export async function readSigner(given: unknown): Promise<KeyObject> {
  const expected = "a public Ed25519 key (PEM, the path of a PEM file, or a KeyObject)";
  if (given instanceof KeyObject) {
    if (given.type === "secret") throw invalid("signer", expected, "a secret key");
    return ed25519("signer", expected, publicOf(given));
  }
  const { pem, origin } = await pemOf("signer", given);
  try {
    return ed25519(origin, expected, createPublicKey(pem));
  } catch (cause) {
    if (cause instanceof KpopError) throw cause;
    throw noKey(origin, expected, cause);
  }
}

/** A public key as base64 of its DER (SPKI). */
export function encodePublicKey(key: KeyObject): string {
  return publicOf(key).export({ type: "spki", format: "der" }).toString("base64");
}

/** The Ed25519 key that `encodePublicKey` wrote; null where it is none. */
export function decodePublicKey(text: string): KeyObject | null {
  try {
    const key = createPublicKey({ key: Buffer.from(text, "base64"), type: "spki", format: "der" });
    return key.asymmetricKeyType === "ed25519" ? key : null;
  } catch {
    return null;
  }
}

/** What tells keys apart: SHA-256 of the public key's DER (SPKI), 64 hexadecimal digits. */
export function keyId(key: KeyObject): string {
  return createHash("sha256")
    .update(Buffer.from(encodePublicKey(key), "base64"))
    .digest("hex");
}

function publicOf(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

async function pemOf(name: string, given: unknown): Promise<{ pem: string; origin: string }> {
  const text = nonEmptyString(name, given);
  if (text.includes("-----BEGIN ")) return { pem: text, origin: `The key given as ${name}` };
  return { pem: await readText(filePath(name, given)), origin: text };
}

function ed25519(origin: string, expected: string, key: KeyObject): KeyObject {
  if (key.asymmetricKeyType === "ed25519") return key;
  throw noKey(origin, `${expected}, and not a key of type ${String(key.asymmetricKeyType)}`);
}

function noKey(origin: string, expected: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_ARGUMENT", `Expected ${expected}, but ${origin} holds something else`, {
    cause,
  });
}

import { createPrivateKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CertifyOptions } from "../../lib/certificate/certify";
import type { ErasureCertificate } from "../../lib/certificate/statement";
import { erase } from "../../lib/erasure/erase";
import { evaluate } from "../../lib/evaluation/evaluate";
import type { EvaluateOptions } from "../../lib/evaluation/evaluate-options";
import { canonicalJson } from "../../lib/files/canonical-json";
import { loadGolden } from "./golden-model";
import { temporaryDirectory } from "./temporary-directory";
import { saveClassifier } from "./tiny-classifier";

/** An erasure on disk with its key and an evaluation. */
export interface CertifiableErasure {
  base: string;
  result: string;
  key: string;
  /** As `kpop-native evaluate` fills a folder. */
  measured: string;
  classifier: string;
  signer: { privateKey: KeyObject; publicKey: KeyObject };
  options: CertifyOptions;
  evaluate(model: string, options?: Partial<EvaluateOptions>): Promise<string>;
}

/** Erases "church" from the golden checkpoint in two steps, and measures a few small pictures. */
export async function certifiableErasure(): Promise<CertifiableErasure> {
  const golden = await loadGolden("small");
  const folder = temporaryDirectory();
  const [base, result] = [join(folder, "base"), join(folder, "no-church")];
  cpSync(golden.model.source.path, base, { recursive: true });
  await golden.dispose();
  const few = { iterations: 2, samplingSteps: 4, poolSize: 1, learningRate: 1e-2 } as const;
  using erasure = await erase(base, { concepts: "church", parameters: "xattn-kv", ...few });
  await erasure.save(result);
  const key = `${result}.key.safetensors`;
  await erasure.key!.save(key);
  const classifier = join(folder, "classifier");
  await saveClassifier(classifier, ["church", "dog", "owl"]);
  const measure = async (model: string, options: Partial<EvaluateOptions> = {}): Promise<string> => {
    const out = temporaryDirectory();
    const drawing = { imagesPerClass: 3, steps: 2, guidanceScale: 2, width: 32, height: 32, topK: [1] };
    await evaluate(model, {
      ...{ erased: ["church"], preserved: ["dog"], classifier, ...drawing },
      ...{ cacheDirectory: join(out, "images"), resultFile: join(out, "evaluation.json") },
      ...options,
    });
    return out;
  };
  const measured = await measure(result);
  const signer = generateKeyPairSync("ed25519");
  const options = { base, signingKey: signer.privateKey, evaluations: [measured], artefacts: [key] };
  return { base, result, key, measured, classifier, signer, options, evaluate: measure };
}

/** A copy of a folder, to be changed. */
export function copyOf(folder: string): string {
  const copy = join(temporaryDirectory(), "copy");
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** Changes the lowest bit of a file's last byte. */
export function flipBit(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
}

/** What a certificate file says. */
export function payloadOf(path: string): { predicateType: string; predicate: ErasureCertificate } {
  const { payload } = JSON.parse(readFileSync(path, "utf8")) as { payload: string };
  return JSON.parse(Buffer.from(payload, "base64").toString()) as ReturnType<typeof payloadOf>;
}

/** Signs any text as a statement, as DSSE's protocol.md says, and writes the envelope. */
export function writeSigned(
  statement: string,
  key: KeyObject,
  type = "application/vnd.in-toto+json",
): string {
  const length = Buffer.byteLength(statement);
  const bytes = Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${length} ${statement}`);
  const sig = sign(null, bytes, key).toString("base64");
  const path = join(temporaryDirectory(), "certificate.json");
  const payload = Buffer.from(statement).toString("base64");
  writeFileSync(path, JSON.stringify({ payload, payloadType: type, signatures: [{ sig }] }));
  return path;
}

/** A certificate changed and signed anew. */
export function signAnew(
  path: string,
  key: KeyObject,
  change: (predicate: ErasureCertificate, statement: Record<string, unknown>) => void,
): string {
  const statement = payloadOf(path);
  change(statement.predicate, statement);
  return writeSigned(canonicalJson(statement), key);
}

/** The private key of a seed of 32 bytes, as RFC 8410 writes it. */
export function keyOfSeed(seed: string): KeyObject {
  const der = Buffer.from(`302e020100300506032b657004220420${seed}`, "hex");
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

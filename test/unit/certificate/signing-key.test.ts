import { createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync, sign, verify as verifySignature } from "node:crypto"; // prettier-ignore
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  decodePublicKey,
  encodePublicKey,
  keyId,
  newSigningKey,
  readSigner,
  readSigningKey,
} from "../../../lib/certificate/signing-key";
import { temporaryDirectory } from "../../support/temporary-directory";

const pair = generateKeyPairSync("ed25519");
const pem = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const publicPem = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
const file = (text: string): string => {
  const path = join(temporaryDirectory(), "key.pem");
  writeFileSync(path, text);
  return path;
};

describe("newSigningKey", () => {
  it("writes a pair that fits, the private one for its owner alone", async () => {
    const path = join(temporaryDirectory(), "signer.pem");
    const made = await newSigningKey(path);
    expect(made).toMatchObject({ privateKey: path, publicKey: `${path}.pub` });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const [own, other] = [createPrivateKey(readFileSync(path)), createPublicKey(readFileSync(`${path}.pub`))];
    expect(own.asymmetricKeyType).toBe("ed25519");
    expect(verifySignature(null, Buffer.from("x"), other, sign(null, Buffer.from("x"), own))).toBe(true);
    expect(keyId(own)).toBe(made.keyid);
    expect(keyId(other)).toBe(made.keyid);
  });

  it.each(["signer.pem", "signer.pem.pub"])("never writes over %s, and then leaves nothing", async (name) => {
    const folder = temporaryDirectory();
    writeFileSync(join(folder, name), "precious");
    await expect(newSigningKey(join(folder, "signer.pem"))).rejects.toMatchObject({
      code: "OUTPUT_NOT_EMPTY",
      message: expect.stringContaining("keys are not replaced") as string,
    });
    expect(readdirSync(folder)).toEqual([name]);
    expect(readFileSync(join(folder, name), "utf8")).toBe("precious");
  });

  it("says where there is no folder", async () => {
    await expect(newSigningKey(join(temporaryDirectory(), "none/signer.pem"))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

describe("keyId", () => {
  it("is SHA-256 of the DER of RFC 8410's example key", () => {
    // RFC 8410, section 10.1; the hash by `openssl pkey -pubin -outform DER | sha256sum`.
    const example = createPublicKey(
      "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    );
    expect(encodePublicKey(example)).toBe("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    expect(keyId(example)).toBe("a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f");
  });

  it("is of a key that reads back", () => {
    expect(keyId(decodePublicKey(encodePublicKey(pair.publicKey))!)).toBe(keyId(pair.privateKey));
    expect(decodePublicKey("AAAA")).toBeNull();
    const other = generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "der" });
    expect(decodePublicKey(other.toString("base64"))).toBeNull();
  });
});

describe("readSigningKey", () => {
  const encrypted = pair.privateKey
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "correct horse" })
    .toString();

  it.each<[string, unknown, string | undefined]>([
    ["a KeyObject", pair.privateKey, undefined],
    ["PEM", pem, undefined],
    ["a PEM file", file(pem), undefined],
    ["an encrypted PEM file with its passphrase", file(encrypted), "correct horse"],
  ])("takes %s", async (_, given, passphrase) => {
    expect(keyId(await readSigningKey(given, passphrase))).toBe(keyId(pair.publicKey));
  });

  const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 });
  it.each<[string, unknown, string | undefined, RegExp]>([
    ["a public key", file(publicPem), undefined, /a private Ed25519 key.*key\.pem holds something else/],
    ["a public KeyObject", pair.publicKey, undefined, /signingKey to be a private Ed25519 key/],
    ["another kind of key", rsa.privateKey, undefined, /not a key of type rsa/],
    ["a file that is no key", file("hello"), undefined, /holds something else/],
    ["damaged PEM", pem.replace("MC4C", "AAAA"), undefined, /The key given as signingKey is damaged/],
    ["an encrypted one without a passphrase", file(encrypted), undefined, /is encrypted; give its passphrase/],
    ["a wrong passphrase", file(encrypted), "wrong", /does not open with this passphrase/],
    ["nothing", "", undefined, /signingKey to be a non-empty string/],
  ])("refuses %s", async (_, given, passphrase, message) => {
    await expect(readSigningKey(given, passphrase)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  }); // prettier-ignore

  it("never shows the key in what it says", async () => {
    const broken = pem.replace("-----END PRIVATE KEY-----", "");
    const error: unknown = await readSigningKey(broken).catch((thrown: unknown) => thrown);
    expect(String(error)).not.toContain(pem.split("\n")[1]!);
  });
});

describe("readSigner", () => {
  it.each<[string, unknown]>([
    ["PEM", publicPem],
    ["a PEM file", file(publicPem)],
    ["a KeyObject", pair.publicKey],
    ["the private key's PEM, of which it takes the public one", pem],
    ["a private KeyObject", pair.privateKey],
  ])("takes %s", async (_, given) => {
    const key = await readSigner(given);
    expect(key.type).toBe("public");
    expect(keyId(key)).toBe(keyId(pair.publicKey));
  });

  it.each<[string, unknown]>([
    ["a file that is no key", file("hello")],
    ["a secret", createSecretKey(Buffer.alloc(32))],
    ["another kind of key", generateKeyPairSync("x25519").publicKey],
    ["a number", 5],
  ])("refuses %s", async (_, given) => {
    await expect(readSigner(given)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

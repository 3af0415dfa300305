import { createPublicKey, verify as verifySignature } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  isSignedBy,
  MAX_ENVELOPE_BYTES,
  parseEnvelope,
  preAuthentication,
  readEnvelope,
  seal,
} from "../../../lib/certificate/envelope";
import { keyOfSeed } from "../../support/certified-erasure";
import { temporaryDirectory } from "../../support/temporary-directory";

/** RFC 8032, section 7.1, test 2. */
const SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
const PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const key = keyOfSeed(SEED);

describe("preAuthentication", () => {
  it("is that of DSSE's test vector", () => {
    expect(preAuthentication("http://example.com/HelloWorld", Buffer.from("hello world")).toString()).toBe(
      "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
    );
  });

  it("counts bytes, not characters", () => {
    expect(preAuthentication("ü", Buffer.from("€")).toString()).toBe("DSSEv1 2 ü 3 €");
  });
});

describe("seal", () => {
  const envelope = seal("hello world", key);

  it("signs the pre-authentication encoding, with Ed25519", () => {
    // The key as RFC 8032 has it, in RFC 8037's form.
    const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(PUBLIC, "hex").toString("base64url") };
    const signature = Buffer.from(envelope.signatures[0]!.sig, "base64");
    const signed = Buffer.from("DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    expect(verifySignature(null, signed, createPublicKey({ key: jwk, format: "jwk" }), signature)).toBe(true);
    expect(envelope).toMatchObject({
      payload: "aGVsbG8gd29ybGQ=",
      payloadType: "application/vnd.in-toto+json",
    });
  });

  it("is opened to the same bytes, and tells its key from others", () => {
    const opened = parseEnvelope(JSON.stringify(envelope), "x");
    expect(opened.payload.toString()).toBe("hello world");
    expect(isSignedBy(opened, createPublicKey(key))).toBe(true);
    expect(isSignedBy(opened, createPublicKey(keyOfSeed("00".repeat(32))))).toBe(false);
    expect(isSignedBy({ ...opened, payloadType: "text/plain" }, createPublicKey(key))).toBe(false);
    expect(isSignedBy({ ...opened, payload: Buffer.from("hello worle") }, createPublicKey(key))).toBe(false);
  });

  it("is found among several signatures, in URL-safe base64 too, whatever their key ids say", () => {
    const url = (text: string): string => text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
    const signatures = [
      { keyid: "of someone else", sig: Buffer.alloc(64).toString("base64") },
      { sig: url(envelope.signatures[0]!.sig) },
    ];
    const opened = parseEnvelope(
      JSON.stringify({ ...envelope, payload: url(envelope.payload), signatures }),
      "x",
    );
    expect(isSignedBy(opened, createPublicKey(key))).toBe(true);
  });
});

describe("readEnvelope", () => {
  const good = seal("{}", key);
  it.each<[string, string, RegExp]>([
    ["no JSON", "certificate", /not JSON/],
    ["a list", "[]", /no DSSE envelope/],
    ["no payload", JSON.stringify({ ...good, payload: undefined }), /no DSSE envelope/],
    ["no type", JSON.stringify({ ...good, payloadType: 3 }), /no DSSE envelope/],
    ["no signatures", JSON.stringify({ ...good, signatures: [] }), /0 signatures/],
    [
      "too many signatures",
      JSON.stringify({ ...good, signatures: Array(17).fill({ sig: "" }) }),
      /17 signatures/,
    ],
    ["a signature that is none", JSON.stringify({ ...good, signatures: [null] }), /not base64/],
    ["a payload that is no base64", JSON.stringify({ ...good, payload: "{}" }), /not base64/],
  ])("refuses %s", async (_, text, message) => {
    const path = join(temporaryDirectory(), "c.json");
    writeFileSync(path, text);
    await expect(readEnvelope(path)).rejects.toMatchObject({
      code: "INVALID_CERTIFICATE",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses a large file by its size, without reading it", async () => {
    const path = join(temporaryDirectory(), "c.json");
    writeFileSync(path, JSON.stringify(good));
    truncateSync(path, 2 ** 40);
    const before = process.memoryUsage().rss;
    await expect(readEnvelope(path)).rejects.toMatchObject({
      code: "INVALID_CERTIFICATE",
      message: expect.stringContaining(String(MAX_ENVELOPE_BYTES)) as string,
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(MAX_ENVELOPE_BYTES);
  });

  it("says of a missing file and of a folder that they are that", async () => {
    await expect(readEnvelope(join(temporaryDirectory(), "none"))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(readEnvelope(temporaryDirectory())).rejects.toMatchObject({ code: "IO_ERROR" });
  });
});

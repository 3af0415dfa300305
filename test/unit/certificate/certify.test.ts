import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { certify, type CertifyOptions } from "../../../lib/certificate/certify";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { erase } from "../../../lib/erasure/erase";
import { evaluate } from "../../../lib/evaluation/evaluate";
import type { Evaluation } from "../../../lib/evaluation/evaluation";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { canonicalJson } from "../../../lib/files/canonical-json";
import { leafHash, merkleRoot } from "../../../lib/files/merkle-tree";
import { machineKind } from "../../../lib/runtime/machine";
import {
  certifiableErasure,
  copyOf,
  flipBit,
  payloadOf,
  type CertifiableErasure,
} from "../../support/certified-erasure";
import { evaluationFixture } from "../../support/evaluation";
import { temporaryDirectory } from "../../support/temporary-directory";

const sha256 = (content: Buffer | string): string => createHash("sha256").update(content).digest("hex");

describe("certify", () => {
  let made: CertifiableErasure;
  let evaluation: Evaluation;
  const run = (options: Partial<CertifyOptions> = {}, result = made.result) =>
    certify(result, { ...made.options, ...options });
  beforeAll(async () => {
    made = await certifiableErasure();
    evaluation = JSON.parse(readFileSync(join(made.measured, "evaluation.json"), "utf8")) as Evaluation;
  });

  it("binds weights, artefacts, run, pictures and rates", async () => {
    const { certificate } = await run();
    const files = ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"];
    for (const [identity, folder] of [
      [certificate.base, made.base],
      [certificate.result, made.result],
    ] as const)
      expect(identity.files).toEqual(
        Object.fromEntries(
          files.map((name) => [
            `${name}.safetensors`,
            sha256(readFileSync(join(folder, `${name}.safetensors`))),
          ]),
        ),
      );
    expect(certificate.result).toMatchObject({ name: "no-church", format: "diffusers" });
    const [before, after] = [certificate.base.networks, certificate.result.networks];
    expect(after["vae"]).toEqual(before["vae"]);
    expect(after["text_encoder"]).toEqual(before["text_encoder"]);
    expect(after["unet"]!.sha256).not.toBe(before["unet"]!.sha256);
    expect(certificate.artefacts).toEqual([
      {
        name: "no-church.key.safetensors",
        bytes: readFileSync(made.key).length,
        sha256: sha256(readFileSync(made.key)),
      },
    ]);
    const manifest = JSON.parse(readFileSync(join(made.result, "kpop-run.json"), "utf8")) as object;
    expect(certificate.run).toEqual({ ...manifest, inputs: undefined, outputs: undefined });
    const [own] = certificate.evaluations;
    const { classes, esr, psr, accuracy, images, pictures } = evaluation;
    expect(own!.figures).toEqual({ classes, esr, psr, accuracy, images });
    expect(own!.classifier).toEqual({ ...evaluation.classifier, origin: "classifier" });
    expect(own!.withKey).toBe(false);
    expect(own!.drawing).toMatchObject({
      steps: 2,
      guidanceScale: 2,
      width: 32,
      batchSize: 4,
      dtype: "float32",
    });
    expect(own!.machine).toEqual(machineKind("cpu"));
    const leaves = pictures.map(({ path }) => leafHash(readFileSync(path)));
    expect(own!.pictures.leaves).toEqual(
      pictures.map(({ path, ...rest }, i) => ({
        ...rest,
        prompt: `a photo of a ${rest.class}`,
        file: path.split("/").at(-1),
        leaf: leaves[i],
      })),
    );
    expect(own!.pictures.root).toBe(merkleRoot(leaves));
  });

  it("writes an in-toto statement in canonical JSON, signed, with no word of where things lay", async () => {
    const file = join(temporaryDirectory(), "certificate.json");
    const { envelope, certificate } = await run({ file });
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(envelope);
    const statement = payloadOf(file);
    const text = Buffer.from(envelope.payload, "base64").toString();
    expect(text).toBe(canonicalJson(statement));
    expect(statement).toMatchObject({
      _type: "https://in-toto.io/Statement/v1",
      predicateType: "urn:kpop-native:certificate:v1",
      predicate: certificate,
      subject: ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"].map(
        (name) => ({
          name: `${name}.safetensors`,
          digest: { sha256: certificate.result.files[`${name}.safetensors`] },
        }),
      ),
    });
    const signed = Buffer.from(`DSSEv1 28 application/vnd.in-toto+json ${Buffer.byteLength(text)} ${text}`);
    const signature = Buffer.from(envelope.signatures[0]!.sig, "base64");
    const jwk = made.signer.publicKey.export({ format: "jwk" });
    expect(verifySignature(null, signed, createPublicKey({ key: jwk, format: "jwk" }), signature)).toBe(true);
    expect(text).not.toContain(join(made.result, ".."));
    expect(text).not.toContain(made.measured);
  });

  it("never takes in what the key holds", async () => {
    const { envelope } = await run();
    const payload = Buffer.from(envelope.payload, "base64");
    const content = readFileSync(made.key);
    const data = content.subarray(8 + Number(content.readBigUInt64LE()));
    for (const form of ["base64", "hex", "latin1"] as const)
      expect(payload.includes(data.subarray(0, 48).toString(form))).toBe(false);
  });

  it("takes a result file, several evaluations, one with the key and one by CLIP", async () => {
    const clip = await ClipScorer.load(evaluationFixture("clip"));
    const other = await made.evaluate(made.result, {
      clip,
      imagesPerClass: 1,
      preserved: ["dog", "owl"],
      erased: [],
    });
    clip.dispose();
    using key = await PromptKey.load(made.key);
    const recovered = await made.evaluate(made.result, { key, imagesPerClass: 1, preserved: [] });
    const evaluations = [join(made.measured, "evaluation.json"), other, recovered];
    const { certificate } = await run({ evaluations });
    expect(certificate.evaluations.map(({ withKey }) => withKey)).toEqual([false, false, true]);
    expect(certificate.evaluations[1]!.clip).toMatchObject({
      origin: "clip",
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    // A mean of one figure has no interval, and JSON no infinity.
    expect(certificate.evaluations[1]!.figures.classes[0]!.clipScore).toMatchObject({ low: null, total: 1 });
    expect((await run({ evaluations: [] })).certificate.evaluations).toEqual([]);
  });

  it("finds the pictures of an evaluation whose folder was moved", async () => {
    const moved = copyOf(made.measured);
    const away = copyOf(made.measured);
    rmSync(made.measured, { recursive: true });
    try {
      const { certificate } = await run({ evaluations: [moved] });
      expect(certificate.evaluations[0]!.pictures.leaves).toHaveLength(6);
    } finally {
      cpSync(away, made.measured, { recursive: true });
    }
  });

  it("certifies a delta with its base, and a single file", async () => {
    using erasure = await erase(made.base, { method: "uce", concepts: "church" });
    const folders = {
      delta: join(temporaryDirectory(), "d"),
      "single-file": join(temporaryDirectory(), "s"),
    };
    const found: Record<string, unknown>[] = [];
    for (const [format, folder] of Object.entries(folders)) {
      await erasure.save(folder, { format: format as "delta" });
      const { certificate } = await run({ evaluations: [], artefacts: [] }, folder);
      expect(certificate.result.format).toBe(format);
      expect(Object.keys(certificate.result.files)).toEqual([
        format === "delta" ? "delta.safetensors" : "model.safetensors",
      ]);
      found.push(certificate.result.networks);
    }
    expect(found[0]).toEqual(found[1]);
  });

  describe("refuses, and writes nothing,", () => {
    const refused = async (
      code: string,
      message: RegExp,
      options: Partial<CertifyOptions> = {},
      result?: string,
    ): Promise<void> => {
      const folder = temporaryDirectory();
      const file = join(folder, "certificate.json");
      await expect(run({ file, ...options }, result)).rejects.toMatchObject({
        name: "KpopError",
        code,
        message: expect.stringMatching(message) as string,
      });
      expect(readdirSync(folder)).toEqual([]);
    };

    it("weights that the run did not make", async () => {
      const result = copyOf(made.result);
      flipBit(join(result, "unet/diffusion_pytorch_model.safetensors"));
      await refused(
        "INVALID_ARGUMENT",
        /unet\/diffusion.* is not the file that its kpop-run\.json/,
        {},
        result,
      );
    });

    it("a base that the run did not start from", async () => {
      const base = copyOf(made.base);
      flipBit(join(base, "vae/diffusion_pytorch_model.safetensors"));
      await refused("INVALID_ARGUMENT", /give the base of the run/, { base });
    });

    it("a checkpoint that no run made", async () => {
      await refused("NOT_FOUND", /no kpop-run\.json beside/, {}, made.base);
    });

    it("an evaluation of another model", async () => {
      const evaluations = [await made.evaluate(made.base, { imagesPerClass: 1, preserved: [] })];
      await refused("INVALID_ARGUMENT", /is an evaluation of another model/, { evaluations });
    });

    it("an evaluation of the model before it was saved", async () => {
      using erasure = await erase(made.base, { method: "uce", concepts: "church" });
      const out = temporaryDirectory();
      await evaluate(erasure.model, {
        ...{
          erased: ["church"],
          classifier: made.classifier,
          imagesPerClass: 1,
          steps: 2,
          width: 32,
          height: 32,
        },
        ...{ cacheDirectory: out, resultFile: join(out, "evaluation.json"), topK: [1] },
      });
      await refused("INVALID_ARGUMENT", /evaluate the result as it was saved/, { evaluations: [out] });
    });

    it.each<[string, (result: Evaluation) => void, RegExp]>([
      ["a changed rate", (r) => (r.esr[1]!.value += 0.1), /esr\.1\.value is .*, and the ranks .* give/],
      ["a changed interval", (r) => (r.classes[1]!.rates[1]!.low -= 0.01), /classes\[1\]\.rates\.1\.low/],
      ["a changed rank", (r) => r.pictures.forEach((p) => (p.rank = 4 - p.rank!)), /was changed/],
      ["a class less", (r) => void r.classes.pop(), /pictures of "dog"/],
      ["a picture less", (r) => void r.pictures.pop(), /images|rates/],
      [
        "no classifier",
        (r) => delete (r as Partial<Evaluation>).classifier,
        /no result of evaluate.*classifier/,
      ],
      [
        "pictures without a class",
        (r) => delete r.pictures[1]!.class,
        /cannot be certified: it has pictures without/,
      ],
      [
        "several prompts for a class",
        (r) => delete r.classes[1]!.prompt,
        /cannot be certified: "dog" is asked for/,
      ],
      [
        "pictures of several sets",
        (r) => (r.pictures[0]!.path = "/elsewhere/a.png"),
        /settings of their own/,
      ],
      ["no pictures", (r) => (r.pictures = []), /no result of evaluate.*pictures/],
    ])("figures with %s", async (_, change, message) => {
      const measured = copyOf(made.measured);
      const changed = structuredClone(evaluation);
      change(changed);
      writeFileSync(join(measured, "evaluation.json"), JSON.stringify(changed));
      const [name] = readdirSync(join(measured, "images"));
      expect(existsSync(join(measured, "images", name!))).toBe(true);
      const code = /no result|pictures of/.test(message.source) ? "INVALID_CHECKPOINT" : "INVALID_ARGUMENT";
      await refused(code, message, { evaluations: [measured] });
    });

    it("an evaluation whose picture, description or folder is gone", async () => {
      const [set] = readdirSync(join(made.measured, "images"));
      const folder = (measured: string): string => join(measured, "images", set!);
      const picture = copyOf(made.measured);
      const [name] = readdirSync(folder(picture));
      rmSync(join(folder(picture), name!));
      await refused("NOT_FOUND", /picture .* is gone; run the same evaluation again/, {
        evaluations: [picture],
      });
      const forged = copyOf(made.measured);
      const description = readFileSync(join(folder(forged), "set.json"), "utf8");
      writeFileSync(join(folder(forged), "set.json"), description.replace('"steps": 2', '"steps": 3'));
      await refused("INVALID_CHECKPOINT", /not what was written for the folder/, { evaluations: [forged] });
      await refused("NOT_FOUND", /evaluation\.json/, { evaluations: [temporaryDirectory()] });
    });

    it("what is no signing key, no artefact, or no option", async () => {
      await refused("INVALID_ARGUMENT", /a private Ed25519 key/, { signingKey: made.signer.publicKey });
      await refused("NOT_FOUND", /none\.safetensors/, { artefacts: ["none.safetensors"] });
      await refused("INVALID_ARGUMENT", /"signer" in the certify options/, { signer: "x" } as never);
      await refused("INVALID_ARGUMENT", /evaluations to be a list of paths/, { evaluations: "x" as never });
      await refused("INVALID_ARGUMENT", /base to be a non-empty string/, { base: 5 as never });
      await refused("ABORTED", /aborted/, { signal: AbortSignal.abort() });
    });

    it("a LoRA, which is no model", async () => {
      using erasure = await erase(made.base, { method: "uce", concepts: "church" });
      const lora = join(temporaryDirectory(), "lora");
      await erasure.save(lora, { format: "lora", rank: 2 });
      await refused("UNSUPPORTED_MODEL", /is a LoRA/, { evaluations: [] }, lora);
    });
  });

  it("replaces an old certificate only by force", async () => {
    const file = join(temporaryDirectory(), "certificate.json");
    writeFileSync(file, "old");
    await expect(run({ file })).rejects.toMatchObject({ code: "OUTPUT_NOT_EMPTY" });
    expect(readFileSync(file, "utf8")).toBe("old");
    await run({ file, force: true });
    expect(payloadOf(file).predicate.run.concepts).toEqual(["church"]);
  });

  describe("with a model card", () => {
    const cardOf = async (options: Partial<CertifyOptions>, result: string): Promise<string> => {
      const { modelCard } = await run({ modelCard: {}, ...options }, result);
      expect(modelCard).toBe(join(result, "README.md"));
      return readFileSync(modelCard!, "utf8");
    };

    it("puts the figures in the place of the card that saving wrote, and in no other's but by force", async () => {
      const result = copyOf(made.result);
      const before = readFileSync(join(result, "README.md"), "utf8");
      expect(before).toContain("Nothing was measured here.");
      const file = join(temporaryDirectory(), "c.json");
      const card = await cardOf({ file }, result);
      const { value } = evaluation.esr[1]!;
      expect(card).toContain(`- type: esr-1\n            name: "ESR-1, 95 % interval`);
      expect(card).toContain(`            value: ${Number((100 * value).toFixed(1))}\n`);
      expect(card).toMatch(/^ {2}- name: copy$/m);
      expect(card).toMatch(
        /## Certificate\n\nThese figures.* c\.json, signed with the Ed25519 key [0-9a-f]{64}/,
      );
      // It is no longer the one that saving wrote.
      const again = join(temporaryDirectory(), "again.json");
      await expect(run({ modelCard: {}, file: again }, result)).rejects.toMatchObject({
        code: "OUTPUT_NOT_EMPTY",
        message: expect.stringContaining("README.md is not the model card that saving") as string,
      });
      expect(existsSync(again)).toBe(false);
      expect(await cardOf({ force: true }, result)).not.toContain("## Certificate");
    });

    it("inherits the licence from the base's card, unless it is told another", async () => {
      const base = copyOf(made.base);
      writeFileSync(join(base, "README.md"), "---\nlicense: creativeml-openrail-m\n---\n# Base\n");
      using erasure = await erase(base, { method: "uce", concepts: "church" });
      const result = join(temporaryDirectory(), "no-church");
      await erasure.save(result);
      expect(readFileSync(join(result, "README.md"), "utf8")).toMatch(
        /^---\nlicense: creativeml-openrail-m\n/,
      );
      const shared = { base, evaluations: [], artefacts: [] };
      const own = { license: "openrail", baseModel: "someone/base" };
      expect(await cardOf({ ...shared, modelCard: own }, result)).toMatch(
        /^---\nlicense: openrail\nbase_model: someone\/base\nbase_model_relation: finetune\n/,
      );
    });
  });
});

import { generateKeyPairSync } from "node:crypto";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"; // prettier-ignore
import { join } from "node:path";
import { certify } from "../../../lib/certificate/certify";
import type { CertifiedPicture } from "../../../lib/certificate/statement";
import { verify, type VerifyOptions } from "../../../lib/certificate/verify";
import type { Verification } from "../../../lib/certificate/verification";
import { erase } from "../../../lib/erasure/erase";
import { canonicalJson } from "../../../lib/files/canonical-json";
import { convert } from "../../../lib/io/convert";
import {
  certifiableErasure,
  copyOf,
  flipBit,
  payloadOf,
  signAnew,
  writeSigned,
  type CertifiableErasure,
} from "../../support/certified-erasure";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("verify", () => {
  let made: CertifiableErasure;
  let certificate: string;
  let set: string;
  beforeAll(async () => {
    made = await certifiableErasure();
    certificate = join(temporaryDirectory(), "certificate.json");
    await certify(made.result, { ...made.options, file: certificate });
    [set] = readdirSync(join(made.measured, "images")) as [string];
  });
  const run = (options: VerifyOptions = {}, path = certificate): Promise<Verification> =>
    verify(path, { signer: made.signer.publicKey, ...options });
  /** The checks that failed, each with its reason. */
  const faults = async (options: VerifyOptions, path?: string): Promise<string[]> => {
    const { ok, checks } = await run(options, path);
    const failed = checks.filter((check) => !check.ok).map(({ name, found }) => `${name}: ${found}`);
    expect(ok).toBe(failed.length === 0);
    return failed;
  };
  /** A copy of the evaluation's folder, with one thing changed. */
  const measured = (change: (pictures: string, folder: string) => void): string => {
    const folder = copyOf(made.measured);
    change(join(folder, "images", set), folder);
    return folder;
  };
  const leafOf = (index: number): CertifiedPicture =>
    payloadOf(certificate).predicate.evaluations[0]!.pictures.leaves[index]!;

  it("holds for what was certified, and says what it looked at", async () => {
    const found = await run({
      ...{ model: made.result, base: made.base, evaluations: [made.measured], artefacts: [made.key] },
    });
    expect(found).toMatchObject({ ok: true, trusted: true, skipped: [] });
    expect(found.checks.map(({ name }) => name)).toEqual([
      ...["signature", "signer", "figures", "base", "model", "run", "artefact", "evaluation", "pictures"],
    ]);
    expect(found.certificate).toEqual(payloadOf(certificate).predicate);
    expect(found.rerun).toBeUndefined();
  });

  it("without anything to compare with holds the certificate to itself, and says what it skipped", async () => {
    const found = await verify(certificate);
    expect(found).toMatchObject({ ok: true, trusted: false });
    expect(found.skipped).toEqual(["signer", "base", "model", "artefacts", "evaluations"]);
    expect(found.keyid).toBe((await run()).keyid);
  });

  it.each([
    ["unet", "diffusion_pytorch_model"],
    ["vae", "diffusion_pytorch_model"],
    ["text_encoder", "model"],
  ])("tells one changed bit of a weight of the %s", async (part, name) => {
    const model = copyOf(made.result);
    flipBit(join(model, part, `${name}.safetensors`));
    expect(await faults({ model })).toEqual([
      `model: ${model} is not the certified model: the weights of the ${part} differ`,
    ]);
    const base = copyOf(made.base);
    flipBit(join(base, part, `${name}.safetensors`));
    expect(await faults({ base })).toEqual([
      `base: ${base} is not the certified base: the weights of the ${part} differ`,
    ]);
  });

  it("tells a damaged file, and another model", async () => {
    const model = copyOf(made.result);
    truncateSync(join(model, "unet/diffusion_pytorch_model.safetensors"), 1000);
    const [fault] = await faults({ model });
    expect(fault).toMatch(/^model: .*diffusion_pytorch_model\.safetensors/);
    expect((await faults({ model: "pocket" }))[0]).toMatch(
      /the weights of the unet, which are stored as F16 and not as F32; .*; the tokenizer; .* differ$/,
    );
  });

  it.each<[string, string, (text: string) => string, string]>([
    ["scheduler", "scheduler/scheduler_config.json", (t) => t.replace("0.012", "0.011"), "the scheduler"],
    ["configuration", "unet/config.json", (t) => t.replace(/"norm_eps": [^,}\s]+/, '"norm_eps": 0.1'), "the configuration of the unet"],
    ["tokenizer", "tokenizer/merges.txt", (t) => t.replace(/^(.*\n)(.*)\n(.*)\n/, "$1$3\n$2\n"), "the tokenizer"],
    ["interventions", "kpop-interventions.json", () => '{"format":"kpop-interventions","version":1,"interventions":[{"name":"sld","version":1,"settings":{}}]}', "the interventions"],
  ])("tells another %s", async (_, file, change, words) => {
    const model = copyOf(made.result);
    const path = join(model, file);
    const before = file.startsWith("kpop") ? "" : readFileSync(path, "utf8");
    const after = change(before);
    expect(after).not.toBe(before);
    writeFileSync(path, after);
    expect(await faults({ model })).toEqual([`model: ${model} is not the certified model: ${words} differ`]);
  }); // prettier-ignore

  it("takes the same weights in another format for the certified ones, and says that the files are others", async () => {
    const model = join(temporaryDirectory(), "copy.safetensors");
    await convert(made.result, model, { format: "single-file" });
    const { ok, checks } = await run({ model });
    expect(ok).toBe(true);
    expect(checks.at(-1)).toEqual({
      name: "model",
      ok: true,
      found: `${model} holds the certified weights, in other files`,
    });
  });

  it("checks a delta on its base, and asks for that", async () => {
    using erasure = await erase(made.base, { method: "uce", concepts: "church" });
    const model = join(temporaryDirectory(), "delta");
    await erasure.save(model, { format: "delta" });
    const file = join(temporaryDirectory(), "c.json");
    await certify(model, { ...made.options, evaluations: [], artefacts: [], file });
    expect(await faults({ model, base: made.base }, file)).toEqual([]);
    await expect(run({ model }, file)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("is a delta") as string,
    });
    const base = copyOf(made.base);
    flipBit(join(base, "unet/diffusion_pytorch_model.safetensors"));
    expect(await faults({ model, base }, file)).toEqual([
      expect.stringMatching(/^base: .*the weights of the unet differ/),
      expect.stringMatching(/^model: .*was not made from/),
    ]);
    flipBit(join(model, "delta.safetensors"));
    expect(await faults({ model, base: made.base }, file)).toEqual([
      expect.stringMatching(/^model: .*the weights of the unet differ/),
    ]);
  });

  it("names a picture that was changed, is missing, or lies elsewhere", async () => {
    const { file, prompt, seed } = leafOf(4);
    const what = `"${prompt}", seed ${seed}`;
    const changed = measured((pictures) => flipBit(join(pictures, file)));
    expect(await faults({ evaluations: [changed] })).toEqual([
      `pictures: ${join(changed, "images", set, file)} (${what}) is not the certified picture`,
    ]);
    const swapped = measured((pictures) => {
      renameSync(join(pictures, file), join(pictures, "x"));
      renameSync(join(pictures, leafOf(0).file), join(pictures, file));
      renameSync(join(pictures, "x"), join(pictures, leafOf(0).file));
    });
    expect(await faults({ evaluations: [swapped] })).toHaveLength(2);
    const missing = measured((pictures) => rmSync(join(pictures, file)));
    expect(await faults({ evaluations: [missing] })).toEqual([
      expect.stringContaining(`(${what}) is missing`),
    ]);
    const outside = join(temporaryDirectory(), "outside.png");
    const linked = measured((pictures) => {
      renameSync(join(pictures, file), outside);
      symlinkSync(outside, join(pictures, file));
    });
    expect(await faults({ evaluations: [linked] })).toEqual([expect.stringContaining("is missing")]);
  });

  it("finds the pictures in their own folder, and in the one above", async () => {
    for (const folder of [join(made.measured, "images", set), join(made.measured, "images")])
      expect(await faults({ evaluations: [folder] })).toEqual([]);
  });

  it("tells a changed figure, in the result and in the manifest", async () => {
    const changed = measured((_, folder) => {
      const path = join(folder, "evaluation.json");
      writeFileSync(path, readFileSync(path, "utf8").replace(/"value": [\d.]+/, '"value": 0.123'));
    });
    expect(await faults({ evaluations: [changed] })).toEqual([
      expect.stringMatching(
        /^evaluation: classes\[0\]\.rates\.1\.value in .* is 0\.123, and .* is certified$/,
      ),
    ]);
    const model = copyOf(made.result);
    const path = join(model, "kpop-run.json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"seed": 0', '"seed": 1'));
    expect(await faults({ model })).toEqual([
      `run: seed in kpop-run.json of ${model} is 1, and 0 is certified`,
    ]);
  });

  it("says of a folder that it is of no certified evaluation, and of which there is none", async () => {
    const other = await made.evaluate(made.result, { imagesPerClass: 1, preserved: [], seed: 5, steps: 3 });
    expect(await faults({ evaluations: [made.measured, other] })).toEqual([
      `evaluation: ${other} has the pictures of no certified evaluation`,
    ]);
    expect(await faults({ evaluations: [other] })).toEqual([
      `pictures: no folder that was given has those of the evaluation ${set}`,
      `evaluation: ${other} has the pictures of no certified evaluation`,
    ]);
  });

  it("tells another artefact, and knows the certified one by whatever name", async () => {
    const renamed = join(temporaryDirectory(), "renamed");
    cpSync(made.key, renamed);
    expect(await faults({ artefacts: [renamed] })).toEqual([]);
    flipBit(renamed);
    expect(await faults({ artefacts: [renamed] })).toEqual([
      `artefact: ${renamed} is no certified artefact (certified: no-church.key.safetensors)`,
    ]);
  });

  describe("of the certificate itself", () => {
    /** The envelope with another payload under the old signature. */
    const forged = (change: (statement: ReturnType<typeof payloadOf>) => void): string => {
      const envelope = JSON.parse(readFileSync(certificate, "utf8")) as { payload: string };
      const statement = payloadOf(certificate);
      change(statement);
      const path = join(temporaryDirectory(), "forged.json");
      envelope.payload = Buffer.from(canonicalJson(statement)).toString("base64");
      writeFileSync(path, JSON.stringify(envelope));
      return path;
    };

    it("tells one changed figure, seed or hash by the signature", async () => {
      const forgeries = [
        forged(({ predicate }) => (predicate.evaluations[0]!.figures.esr[1]!.value = 0.5)),
        forged(({ predicate }) => (predicate.run.seed = 1)),
        forged(({ predicate }) => (predicate.evaluations[0]!.pictures.root = "0".repeat(64))),
      ];
      for (const path of forgeries) {
        for (const signer of [made.signer.publicKey, undefined]) {
          const found = await verify(path, signer === undefined ? {} : { signer });
          expect(found).toMatchObject({ ok: false, trusted: false, certificate: null });
          expect(found.checks).toEqual([
            { name: "signature", ok: false, found: expect.stringContaining("changed after it was signed") },
          ]);
        }
      }
    });

    it("tells any changed byte, with the signer at hand", async () => {
      const envelope = JSON.parse(readFileSync(certificate, "utf8")) as { payload: string };
      const payload = Buffer.from(envelope.payload, "base64");
      for (let at = 0; at < payload.length; at += Math.ceil(payload.length / 40)) {
        const bytes = Buffer.from(payload);
        bytes[at]! ^= 1;
        const path = join(temporaryDirectory(), "c.json");
        writeFileSync(path, JSON.stringify({ ...envelope, payload: bytes.toString("base64") }));
        expect(await faults({}, path)).toEqual([expect.stringMatching(/^signature: it was changed/)]);
      }
    });

    it("tells another signer", async () => {
      const other = generateKeyPairSync("ed25519");
      const spki = other.publicKey.export({ type: "spki", format: "der" }).toString("base64");
      const anew = signAnew(certificate, other.privateKey, (predicate) => (predicate.signer = spki));
      expect(await faults({}, anew)).toEqual([
        expect.stringMatching(
          /^signer: it is signed with the key [0-9a-f]{64}, and not with the one given, [0-9a-f]{64}$/,
        ),
      ]);
      expect(await verify(anew)).toMatchObject({ ok: true, trusted: false });
      // One who signs in the first one's name does not get so far.
      const inName = signAnew(certificate, other.privateKey, () => undefined);
      for (const options of [{}, { signer: other.publicKey }])
        expect((await verify(inName, options)).checks[0]).toMatchObject({
          name: "signature",
          ok: "signer" in options,
        });
      expect(await faults({}, inName)).toEqual([expect.stringMatching(/^signature/)]);
    });

    it.each<[string, Parameters<typeof signAnew>[2], RegExp]>([
      ["a rate that the ranks do not give", (p) => (p.evaluations[0]!.figures.psr[1]!.value = 0.99), /psr\.1\.value of the evaluation \w+ is certified as 0\.99, and the ranks give/],
      ["a rank that does not fit the rates", (p) => p.evaluations[0]!.pictures.leaves.forEach((l) => (l.rank = 4 - l.rank)), /is certified as .* and the ranks give/],
      ["a root of other leaves", (p) => (p.evaluations[0]!.pictures.root = "0".repeat(64)), /root of the evaluation \w+ is not that of its leaves/],
      ["pictures in another order", (p) => p.evaluations[0]!.pictures.leaves.reverse(), /root of the evaluation/],
      ["a class without pictures", (p) => p.evaluations[0]!.figures.classes.push({ ...p.evaluations[0]!.figures.classes[0]!, name: "cat" }), /classes of the evaluation/],
    ])("tells a signer's own %s", async (_, change, message) => {
      const path = signAnew(certificate, made.signer.privateKey, change);
      expect(await faults({}, path)).toEqual([expect.stringMatching(message)]);
    }); // prettier-ignore

    it.each<[string, Parameters<typeof signAnew>[2], string, RegExp]>([
      ["of a newer version", (_, s) => (s["predicateType"] = "urn:kpop-native:certificate:v2"), "UNSUPPORTED_FORMAT", /of version 2; this library reads version 1: update kpop-native/],
      ["of another kind", (_, s) => (s["predicateType"] = "https://slsa.dev/provenance/v1"), "INVALID_CERTIFICATE", /of another kind, https:\/\/slsa/],
      ["that is no statement", (_, s) => (s["_type"] = "x"), "INVALID_CERTIFICATE", /no in-toto statement/],
      ["with other subjects", (_, s) => (s["subject"] = []), "INVALID_CERTIFICATE", /subjects are not the files/],
      ["without a part", (p) => delete (p as Partial<typeof p>).run, "INVALID_CERTIFICATE", /predicate\.run is missing or not of its form/],
      ["with an earlier run that is none", (p) => (p.run.before = [5 as never]), "INVALID_CERTIFICATE", /predicate\.run\.before is missing or not of its form/],
      ["with a path out of the folder", (p) => (p.evaluations[0]!.pictures.leaves[2]!.file = "../../x-0-0123456789abcdef.png"), "INVALID_CERTIFICATE", /leaves\[2\]\.file is missing or not of its form/],
      ["with a set out of the folder", (p) => (p.evaluations[0]!.set = "../../../../../../../../../../etc"), "INVALID_CERTIFICATE", /evaluations\[0\]\.set/],
      ["with an absolute path", (p) => (p.evaluations[0]!.pictures.leaves[0]!.file = "/etc/passwd"), "INVALID_CERTIFICATE", /leaves\[0\]\.file/],
      ["with a batch that fills the memory", (p) => (p.evaluations[0]!.drawing.batchSize = 1e9), "INVALID_CERTIFICATE", /drawing\.batchSize/],
      ["with a key that is none", (p) => (p.signer = "AAAA"), "INVALID_CERTIFICATE", /names no Ed25519 key/],
    ])("refuses one %s", async (_, change, code, message) => {
      const path = signAnew(certificate, made.signer.privateKey, change);
      const error = expect.objectContaining({ code, message: expect.stringMatching(message) as string }) as Error;
      await expect(verify(path)).rejects.toThrow(error);
      if (code === "UNSUPPORTED_FORMAT") await expect(run({}, path)).rejects.toThrow(error);
    }); // prettier-ignore

    it("takes no model for the certified one because less of it was certified", async () => {
      const path = signAnew(certificate, made.signer.privateKey, ({ result }) => {
        delete result.networks["unet"];
        delete result.settings["scheduler"];
      });
      expect(await faults({ model: made.result }, path)).toEqual([
        expect.stringMatching(
          /the weights of the unet, which are stored as F32 and not as none; the scheduler differ$/,
        ),
      ]);
    });

    it("refuses what is not in canonical form, not UTF-8, too deep, or of another type", async () => {
      const statement = canonicalJson(payloadOf(certificate));
      const key = made.signer.privateKey;
      const refused = (path: string, message: RegExp) =>
        expect(run({}, path)).rejects.toMatchObject({
          code: "INVALID_CERTIFICATE",
          message: expect.stringMatching(message) as string,
        });
      // Parsers differ over which of two keys counts.
      const twice = statement.replace('"seed":0', '"seed":1,"seed":0');
      expect(twice).not.toBe(statement);
      await refused(writeSigned(twice, key), /not canonical JSON/);
      await refused(writeSigned(JSON.stringify(payloadOf(certificate), null, 1), key), /not canonical JSON/);
      await refused(writeSigned("[".repeat(1e6), key), /not canonical JSON/);
      await refused(writeSigned(`${"[".repeat(1e6)}${"]".repeat(1e6)}`, key), /not canonical JSON/);
      await refused(writeSigned(statement, key, "application/json"), /of the type application\/json/);
    });
  });

  it("refuses what it cannot take, before it reads anything", async () => {
    const refused = (options: object, message: RegExp) =>
      expect(verify("none.json", options)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    await refused({ key: "x" }, /"key" in the verify options/);
    await refused({ rerun: -1 }, /rerun to be an integer >= 0/);
    await refused({ rerun: 1 }, /model to be given with rerun/);
    await refused({ signer: 5 }, /signer to be a non-empty string/);
    await refused({ evaluations: "x" }, /evaluations to be a list of paths/);
    await refused({ artefacts: ["x", "x"] }, /artefacts to be free of repetitions/);
    await expect(verify("none.json")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

import { createHash, generateKeyPairSync } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { certify } from "../../../lib/certificate/certify";
import { verify } from "../../../lib/certificate/verify";
import { flipBit } from "../../support/certified-erasure";
import { cli } from "../../support/cli";
import { golden } from "../../support/golden";
import { sd2 } from "../../support/ldm-shapes";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("certificates of single files that do not say what they predict", () => {
  const folder = temporaryDirectory();
  const [base, result, file] = ["base.safetensors", "no-church", "certificate.json"].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const { privateKey: signingKey, publicKey: signer } = generateKeyPairSync("ed25519");
  const asked = {
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(/does not say.*prediction "v".*--prediction/) as string,
  };

  beforeAll(() => {
    mkdirSync(result);
    const model = join(result, "model.safetensors");
    writeU8File(base, sd2());
    copyFileSync(base, model);
    flipBit(model);
    for (const at of [folder, result])
      for (const name of ["vocab.json", "merges.txt"])
        copyFileSync(golden("small", "tokenizer", name), join(at, name));
    const run = { method: "uce", concepts: ["church"], seed: 0, options: {} };
    const files = { inputs: { "base.safetensors": sha256(base) }, outputs: { "model.safetensors": sha256(model) } }; // prettier-ignore
    writeFileSync(join(result, "kpop-run.json"), JSON.stringify({ ...run, ...files }));
  });

  it("are made and checked once that is told, and ask for it before", async () => {
    await expect(certify(result, { base, signingKey, file })).rejects.toMatchObject(asked);
    const { certificate } = await certify(result, { base, signingKey, file, prediction: "v" });
    expect(certificate.result.format).toBe("single-file");
    await expect(verify(file, { model: result, base, signer })).rejects.toMatchObject(asked);
    const { ok, checks } = await verify(file, { model: result, base, signer, prediction: "v" });
    expect([ok, checks.map(({ name }) => name)]).toEqual([true, ["signature", "signer", "base", "model", "run"]]); // prettier-ignore
  });

  it("are made and checked on the command line, which says what to add", async () => {
    const pem = join(folder, "signer.pem");
    writeFileSync(pem, signingKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(`${pem}.pub`, signer.export({ type: "spki", format: "pem" }));
    const certifying = ["certify", "no-church", "--base", "base.safetensors", "--signing-key", "signer.pem"];
    const checking = ["verify", "no-church.certificate.json", "--model", "no-church", "--base", "base.safetensors", "--signer", "signer.pem.pub"]; // prettier-ignore
    const lacking = { code: 2, stderr: expect.stringMatching(/^error: .*on the command line --prediction$/m) as string }; // prettier-ignore
    const options = { cwd: folder };
    expect(await cli(certifying, options)).toMatchObject(lacking);
    const { code, stdout } = await cli([...certifying, "--prediction", "v"], options);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/verify .* --prediction v .*signer\.pem\.pub/)]);
    expect(await cli(checking, options)).toMatchObject(lacking);
    expect(await cli([...checking, "--prediction", "v"], options)).toMatchObject({ code: 0 });
    expect(await cli([...checking, "--prediction", "epsilon"], options)).toMatchObject({ code: 1 });
  });

  it("are of another model where another prediction is told", async () => {
    const { checks } = await verify(file, { base, signer, prediction: "epsilon" });
    expect(checks.at(-1)).toMatchObject({
      name: "base",
      ok: false,
      found: expect.stringMatching(/: the scheduler; the configuration of the unet differ$/) as string,
    });
    for (const job of [
      () => certify(result, { base, signingKey, prediction: "x0" as "v" }),
      () => verify(file, { prediction: "x0" as "v" }),
    ])
      await expect(job()).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/Expected prediction to be one of "epsilon", "v"/) as string,
      });
  });
});

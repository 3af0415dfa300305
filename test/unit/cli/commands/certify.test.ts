import { createPublicKey } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cli, jsonLines, type CliResult } from "../../../support/cli";
import { flipBit, keyOfSeed, signAnew } from "../../../support/certified-erasure";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();

describe("kpop-native certify and verify", () => {
  let cwd: string;
  const run = (args: readonly string[], env: Record<string, string> = {}): Promise<CliResult> =>
    cli(args, { cwd, env: { KPOP_SIGNING_KEY: undefined, ...env } });
  const done = async (...args: string[]): Promise<CliResult> => {
    const result = await run(args);
    expect([result.code, result.code === 0 ? "" : result.stderr]).toEqual([0, ""]);
    return result;
  };
  const bound = ["no-church", "--base", "pocket", "--evaluation", "measured"];
  const given = ["--model", "no-church", "--base", "pocket", "--evaluation", "measured"];
  beforeAll(async () => {
    cwd = folder();
    await done(
      "erase",
      "pocket",
      "--method",
      "uce",
      "--concept",
      "church",
      "--guide",
      "castle",
      "--out",
      "no-church",
    );
    const few = ["--images-per-class", "2", "--steps", "2", "--top-k", "1"];
    await done(
      "evaluate",
      "no-church",
      "--erased",
      "church",
      "--classifier",
      "pocket",
      ...few,
      "--out",
      "measured",
    );
    await done("certify", "--new-key", "signer.pem");
    await done("certify", ...bound, "--signing-key", "signer.pem", "--model-card");
  });
  const verify = (...args: string[]): Promise<CliResult> =>
    run(["verify", "no-church.certificate.json", ...args]);

  it("makes a key for its owner alone, and says what each file is for", async () => {
    expect(statSync(join(cwd, "signer.pem")).mode & 0o777).toBe(0o600);
    const { stdout } = await done("certify", "--new-key", "another.pem");
    expect(stdout).toMatch(/^Made the Ed25519 key [0-9a-f]{64}\n {2}private {2}another\.pem {2}\(keep it/);
    expect(stdout).toMatch(/^ {2}public {3}another\.pem\.pub {2}\(give it/m);
    const { code, stderr } = await run(["certify", "--new-key", "another.pem"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: another\.pem exists, and keys are not replaced/),
    ]);
  });

  it("writes the certificate and the card, and prints the command that checks them", async () => {
    const args = ["certify", ...bound, "--signing-key", "signer.pem", "--out", "c.json"];
    const { stdout } = await done(...args);
    expect(stdout).toMatch(/^Certified no-church\n {2}erased {4}"church" from pocket with uce/);
    expect(stdout).toMatch(/^ {2}measured {2}ESR-1 \d+\.\d % \(.*\), 2 pictures named by pocket$/m);
    const command = /^ {2}.* (verify c\.json .*)$/m.exec(stdout)![1]!;
    expect(command).toBe(`verify c.json ${given.join(" ")} --signer signer.pem.pub`);
    expect((await run(command.split(" "))).code).toBe(0);
    const card = readFileSync(join(cwd, "no-church/README.md"), "utf8");
    expect(card).toMatch(/^---\nlibrary_name: diffusers\n/);
    expect(card).toMatch(/^model-index:$/m);
    expect(card).toContain("no-church.certificate.json");
    const again = await run(args);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("replace it with --force")]);
    const forced = await done(...args, "--force", "--json");
    expect(jsonLines(forced.stdout)).toEqual([
      expect.objectContaining({
        event: "done",
        certificate: "c.json",
        concepts: ["church"],
        artefacts: [],
        evaluations: [
          expect.objectContaining({ pictures: 2, root: expect.stringMatching(/^[0-9a-f]{64}$/) }),
        ],
      }),
    ]);
  });

  it("takes the signing key from the environment, and finds what erase left beside", async () => {
    cpSync(join(cwd, "no-church"), join(cwd, "copy"), { recursive: true });
    writeFileSync(join(cwd, "copy.key.safetensors"), "a key");
    const pem = readFileSync(join(cwd, "signer.pem"), "utf8");
    const args = ["certify", "copy/", "--base", "pocket", "--json"];
    const { code, stdout, stderr } = await run(args, { KPOP_SIGNING_KEY: pem });
    expect([code, jsonLines(stdout)[0]]).toEqual([
      0,
      expect.objectContaining({ certificate: "copy.certificate.json", artefacts: ["copy.key.safetensors"] }),
    ]);
    expect(stderr).toContain("Reading pocket, copy/, ");
    const found = await done("verify", "copy.certificate.json", "--artefact", "copy.key.safetensors");
    expect(found.stdout).toMatch(/^ok +artefact +copy\.key\.safetensors is the certified/m);
  });

  it("verifies what was certified, without libtorch too, and says what it did not look at", async () => {
    const env = { KPOP_LIBTORCH: folder() };
    const args = ["verify", "no-church.certificate.json", ...given, "--signer", "signer.pem.pub"];
    const { code, stdout } = await run(args, env);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^no-church\.certificate\.json says:\n {2}erased {4}"church"/);
    for (const name of ["signature", "signer", "figures", "base", "model", "run", "evaluation", "pictures"])
      expect(stdout).toMatch(new RegExp(`^ok +${name} `, "m"));
    expect(stdout).toMatch(/\nThe certificate holds, as far as it was looked at\n$/);
    const alone = await verify();
    expect(alone.code).toBe(0);
    expect(alone.stdout).toMatch(/^-- +not looked at: who signed: --signer FILE/m);
    expect(alone.stdout).toMatch(/^-- +not looked at: pictures and figures: --evaluation DIR$/m);
    expect(alone.stdout).toMatch(/anyone may have signed it \(key [0-9a-f]{64}\)\n$/);
  });

  it("draws pictures again", async () => {
    const { code, stdout, stderr } = await verify("--model", "no-church", "--rerun", "1", "--device", "cpu");
    expect([code, stderr]).toEqual([0, expect.stringContaining("picture 1 of 1  drawn again")]);
    expect(stdout).toMatch(
      /^ok +rerun +1 picture \(choice of seed \d+\) drawn again on the same kind of machine has the same bytes$/m,
    );
  });

  it("exits with 1 and the reason on a changed weight, picture and signer", async () => {
    cpSync(join(cwd, "no-church"), join(cwd, "bad"), { recursive: true });
    flipBit(join(cwd, "bad/unet/diffusion_pytorch_model.safetensors"));
    const weight = await verify("--model", "bad");
    expect([weight.code, weight.stderr]).toEqual([1, ""]);
    expect(weight.stdout).toMatch(
      /^FAIL +model +bad is not the certified model: the weights of the unet differ$/m,
    );
    expect(weight.stdout).toMatch(/\nThe certificate does not hold\n$/);

    cpSync(join(cwd, "measured"), join(cwd, "other"), { recursive: true });
    const [set] = readdirSync(join(cwd, "other/images"));
    const picture = readdirSync(join(cwd, "other/images", set!)).find((name) => name.endsWith(".png"))!;
    flipBit(join(cwd, "other/images", set!, picture));
    const changed = await verify("--evaluation", "other");
    expect(changed.code).toBe(1);
    expect(changed.stdout).toMatch(
      /^FAIL +pictures +other\/images\/\w+\/.*\.png \("a photo of a church", seed 0\) is not/m,
    );

    await done("certify", "--new-key", "other.pem");
    const signer = await verify("--signer", "other.pem.pub", "--json");
    expect(signer.code).toBe(1);
    expect(jsonLines(signer.stdout)).toEqual([
      expect.objectContaining({
        ok: false,
        certificate: null,
        checks: [
          { name: "signature", ok: true, found: "it is whole" },
          { name: "signer", ok: false, found: expect.stringMatching(/^it is signed with the key/) },
        ],
      }),
    ]);
  });

  it("spells out what a terminal would obey, of a certificate that anyone may have made", async () => {
    const path = join(cwd, "no-church.certificate.json");
    const key = keyOfSeed("00".repeat(32));
    const spki = createPublicKey(key).export({ type: "spki", format: "der" }).toString("base64");
    const hostile = signAnew(path, key, (predicate) => {
      predicate.run.concepts = ["church\u001b[2J\nok    signer  trusted"];
      predicate.signer = spki;
    });
    const { stdout } = await done("verify", hostile);
    expect(stdout).toContain('"church\\u001b[2J\\nok    signer  trusted"');
    expect(stdout).not.toMatch(/^ok +signer/m);
  });

  it.each<[string, string[], number, RegExp]>([
    ["no result", ["certify"], 2, /missing required argument 'RESULT'/],
    ["no base", ["certify", "no-church"], 2, /required option '--base <model>'/],
    ["no key", ["certify", "no-church", "--base", "pocket"], 2, /'--signing-key <file>' not specified, nor its PEM in \$KPOP_SIGNING_KEY; --new-key/],
    ["a key that is none", ["certify", "no-church", "--base", "pocket", "--signing-key", "signer.pem.pub", "--out", "x"], 2, /Expected a private Ed25519 key/],
    ["a licence without a card", ["certify", "no-church", "--base", "pocket", "--license", "mit", "--signing-key", "signer.pem"], 2, /--license needs --model-card/],
    ["two things at once", ["certify", "no-church", "--new-key", "x.pem"], 2, /--new-key makes a key and nothing else/],
    ["a result that no run made", ["certify", "pocket", "--base", "pocket", "--signing-key", "signer.pem", "--out", "x"], 1, /no kpop-run\.json beside the weights of pocket/],
    ["an evaluation that is none", ["certify", "no-church", "--base", "pocket", "--signing-key", "signer.pem", "--evaluation", "no-church", "--out", "x"], 1, /Cannot read no-church\/evaluation\.json: it does not exist/],
    ["no certificate", ["verify"], 2, /missing required argument 'CERTIFICATE'/],
    ["a file that is none", ["verify", "measured/evaluation.json"], 1, /measured\/evaluation\.json is no certificate: it is no DSSE envelope/],
    ["a signer that is none", ["verify", "no-church.certificate.json", "--signer", "measured/evaluation.json"], 2, /Expected a public Ed25519 key/],
    ["a rerun without a model", ["verify", "no-church.certificate.json", "--rerun", "1"], 2, /--rerun needs --model/],
    ["a seed without a rerun", ["verify", "no-church.certificate.json", "--seed", "1"], 2, /--seed needs --rerun/],
    ["more pictures than there are", ["verify", "no-church.certificate.json", "--model", "no-church", "--rerun", "9"], 2, /Expected --rerun to be at most 2/],
  ])("refuses %s", async (_, args, exit, message) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: exit, stdout: "" });
    expect(stderr).toMatch(message);
    expect(existsSync(join(cwd, "x"))).toBe(false);
  }); // prettier-ignore
});

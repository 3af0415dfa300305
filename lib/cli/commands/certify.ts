import { readdir } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { certify, newSigningKey } from "../../index";
import type { CertifiedErasure, CertifyOptions } from "../../index";
import { describeCertificate } from "../describe-certificate";
import { withForceHint } from "../force-hint";
import { fromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { predictionOption } from "../load-model";
import { emit, print, say } from "../output";
import { collect } from "../parse-value";
import { PASSPHRASE_VARIABLE, readPassphrase } from "../passphrase";
import { requireOptions } from "../require-options";
import { commandLine, invocation } from "../shell";

/** Variable that the private key may come in, as PEM. */
const KEY_VARIABLE = "KPOP_SIGNING_KEY";

interface Flags {
  base: string;
  prediction?: "epsilon" | "v";
  evaluation?: string[];
  artefact?: string[];
  signingKey?: string;
  passphraseFile?: string;
  out?: string;
  modelCard?: boolean;
  license?: string;
  baseModel?: string;
  force?: boolean;
  newKey?: string;
  json?: boolean;
}

/** `kpop-native certify RESULT --base MODEL --evaluation DIR --signing-key FILE`: what was erased and measured, signed. */
export function registerCertify(program: Command): void {
  const command = program
    .command("certify")
    .usage("<RESULT> --base <model> --evaluation <dir> --signing-key <file> [options]")
    .summary("sign what an erasure is and what was measured of it")
    .description(
      "Bind what was erased and measured by hashes (base, result, run, what lies beside, every picture), with every rate " +
        "and its interval, and sign that with an Ed25519 key.\n`verify` checks it. Reads all weights; needs no libtorch.",
    )
    .argument("[RESULT]", "the folder that erase wrote, unchanged")
    .option("--base <model>", "the checkpoint that it was erased from")
    .addOption(predictionOption())
    .option("--evaluation <dir>", "folder that evaluate filled for RESULT; repeatable", collect)
    .option(
      "--artefact <file>",
      "key or the like; only its hash goes in; repeatable (default: what erase left beside RESULT)",
      collect,
    )
    .option("--signing-key <file>", `private Ed25519 key, a PEM file (or the PEM in $${KEY_VARIABLE})`)
    .option(
      "--passphrase-file <file>",
      `passphrase of an encrypted signing key, in a file (or in $${PASSPHRASE_VARIABLE})`,
    )
    .option("--out <file>", "the certificate (default: RESULT.certificate.json beside RESULT)")
    .option("--model-card", "write the figures into RESULT's README.md, as Hugging Face's hub reads it")
    .option("--license <id>", "licence in the model card (default: what the base's card says)")
    .option("--base-model <id>", "USER/MODEL of the base on the hub, for the model card")
    .option("--force", "replace an old certificate, and a README.md that erase did not write")
    .option("--new-key <file>", "make a signing key in FILE, and its public key in FILE.pub; nothing else")
    .option("--json", "print what happens as JSON, one object per line")
    .addHelpText("after", HELP);
  command.action(async (result: string | undefined, flags: Flags) => {
    if (flags.newKey !== undefined) {
      if (result !== undefined)
        command.error("error: --new-key makes a key and nothing else; certify with a second command");
      return makeKey(flags.newKey, flags.json === true);
    }
    if (result === undefined) return command.error("error: missing required argument 'RESULT'");
    if (result.startsWith("hf:") && flags.out === undefined)
      command.error("error: required option '--out <file>' not specified, since RESULT is on the hub");
    requireOptions(command, ["base"]);
    const signingKey = flags.signingKey ?? process.env[KEY_VARIABLE];
    if (signingKey === undefined || signingKey === "")
      return command.error(
        `error: required option '--signing-key <file>' not specified, nor its PEM in $${KEY_VARIABLE}; --new-key <file> makes one`,
      );
    for (const name of ["license", "baseModel"] as const)
      if (flags[name] !== undefined && flags.modelCard !== true)
        command.error(`error: --${name === "license" ? name : "base-model"} needs --model-card`);
    return certifyCommand(result, flags, signingKey);
  });
}

const HELP = () => `
Examples:
  ${invocation()} certify --new-key signer.pem
  ${invocation()} certify no-church --base pocket --evaluation measured --signing-key signer.pem
  ${invocation()} verify no-church.certificate.json --model no-church --base pocket --evaluation measured --signer signer.pem.pub
`;

async function makeKey(path: string, json: boolean): Promise<void> {
  const { privateKey, publicKey, keyid } = await newSigningKey(path);
  if (json) return emit({ event: "key", privateKey, publicKey, keyid });
  print(`Made the Ed25519 key ${keyid}`);
  print(`  private  ${privateKey}  (keep it to yourself: whoever has it signs as you)`);
  print(`  public   ${publicKey}  (give it to whoever verifies)`);
}

async function certifyCommand(result: string, flags: Flags, signingKey: string): Promise<void> {
  const { base, prediction, evaluation, json = false, force = false } = flags;
  const plain = /^\.{0,2}$/.test(basename(result)) ? resolve(result) : result.replace(/\/+$/, "");
  const file = flags.out ?? `${plain}.certificate.json`;
  const passphrase = await readPassphrase(flags.passphraseFile);
  const artefacts = flags.artefact ?? (await artefactsBeside(plain));
  say(`Reading ${[base, result, ...(evaluation ?? []), ...artefacts].join(", ")}`);
  const certified = await interruptible("no certificate was written", async (signal) => {
    const [local, before] = [await fromHub(result, flags, signal), await fromHub(base, flags, signal)];
    return await withForceHint(() =>
      certify(local, {
        ...{ base: before, signingKey, artefacts, file, force, signal },
        ...(passphrase === undefined ? {} : { passphrase }),
        ...(prediction === undefined ? {} : { prediction }),
        ...(evaluation === undefined ? {} : { evaluations: evaluation }),
        ...(flags.modelCard === true ? { modelCard: modelCard(flags) } : {}),
      }),
    );
  });
  if (json) return emit(event(certified, file));
  print(`Certified ${result}`);
  for (const line of describeCertificate(certified.certificate)) print(line);
  print(`  signed    with the key ${certified.keyid}`);
  print(`  file      ${file}`);
  if (certified.modelCard !== undefined) print(`  card      ${relative("", certified.modelCard)}`);
  if (evaluation === undefined) say("Nothing that was measured is certified: there was no --evaluation");
  print("Check it with the public key, which --new-key put beside the private one as FILE.pub:");
  const told = prediction === undefined ? [] : ["--prediction", prediction];
  const given = [...told, ...(evaluation ?? []).flatMap((path) => ["--evaluation", path])];
  const signer = flags.signingKey === undefined ? "FILE.pub" : `${flags.signingKey}.pub`;
  print(`  ${commandLine("verify", file, "--model", result, "--base", base, ...given, "--signer", signer)}`);
}

/** The files that `erase` left beside a result: RESULT.NAME.safetensors. */
async function artefactsBeside(result: string): Promise<string[]> {
  const folder = dirname(result);
  const start = `${basename(result)}.`;
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => name.startsWith(start) && /^[^.]+\.safetensors$/.test(name.slice(start.length)))
    .sort()
    .map((name) => join(folder, name));
}

function modelCard({ license, baseModel }: Flags): NonNullable<CertifyOptions["modelCard"]> {
  return {
    ...(license === undefined ? {} : { license }),
    ...(baseModel === undefined ? {} : { baseModel }),
  };
}

function event({ certificate, keyid, modelCard: card }: CertifiedErasure, file: string): object {
  const { evaluations, run, artefacts } = certificate;
  return {
    event: "done",
    certificate: file,
    keyid,
    ...(card === undefined ? {} : { modelCard: card }),
    concepts: run.concepts,
    method: run.method,
    artefacts: artefacts.map(({ name }) => name),
    evaluations: evaluations.map(({ set, figures: { esr, psr }, pictures: { root, leaves } }) => ({
      ...{ set, esr, psr, root },
      pictures: leaves.length,
    })),
  };
}

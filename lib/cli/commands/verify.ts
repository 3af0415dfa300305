import type { Command } from "commander";
import { verify } from "../../index";
import type { Device } from "../../index";
import { describeVerification } from "../describe-certificate";
import { flagsFromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { predictionOption } from "../load-model";
import { emit, print } from "../output";
import { collect, parseInteger } from "../parse-value";
import { Progress } from "../progress";
import { invocation } from "../shell";

interface Flags {
  signer?: string;
  model?: string;
  base?: string;
  prediction?: "epsilon" | "v";
  evaluation?: string[];
  artefact?: string[];
  rerun?: number;
  seed?: number;
  classifier?: string;
  clip?: string;
  device?: Device;
  json?: boolean;
}

/** `kpop-native verify CERTIFICATE --model MODEL --signer FILE`: exits with 0 when it holds, else with 1. */
export function registerVerify(program: Command): void {
  const command = program
    .command("verify")
    .usage("<CERTIFICATE> --model <model> --signer <file> [options]")
    .summary("check a certificate, and that models, pictures and figures are those that it certifies")
    .description(
      "Check a certificate that `certify` wrote: its signature, and whatever is given to compare with.\n" +
        "Says what does not hold, and what was not looked at. Needs no libtorch, except to draw pictures again.",
    )
    .argument("<CERTIFICATE>", "the file")
    .option("--signer <file>", "public Ed25519 key of who has to have signed, a PEM file")
    .option("--model <model>", "the erased model: a folder, a file, or a delta with --base")
    .option("--base <model>", "the checkpoint that it was erased from")
    .addOption(predictionOption())
    .option("--evaluation <dir>", "folder of an evaluation: its pictures and figures; repeatable", collect)
    .option("--artefact <file>", "key or the like that was left beside the weights; repeatable", collect)
    .option("--rerun <n>", "draw n of the pictures again with --model, and compare", parseInteger)
    .option(
      "--seed <n>",
      "of the choice of pictures (default: a random one, so that no signer knows it)",
      parseInteger,
    )
    .option(
      "--classifier <path>",
      "the certified classifier, for pictures drawn on another kind of machine (default: the built-in one)",
    )
    .option("--clip <path>", "the certified CLIP, where it named the pictures")
    .option("--device <name>", "where pictures are drawn: auto, cpu, cuda, cuda:0 and so on (default: auto)")
    .option("--json", "print the report as one JSON object")
    .addHelpText("after", HELP);
  command.action(async (path: string, flags: Flags) => {
    if (flags.rerun === undefined)
      for (const name of ["seed", "classifier", "clip", "device"] as const)
        if (flags[name] !== undefined) command.error(`error: --${name} needs --rerun <n>`);
    if (flags.rerun !== undefined && flags.model === undefined)
      command.error("error: --rerun needs --model <model>");
    await verifyCommand(path, flags);
  });
}

const HELP = () => `
Pictures that are drawn again have to have the same bytes on the kind of
machine that drew them: the same versions of kpop-native, libtorch and zlib,
platform, processor, instruction set and number of threads. On another kind,
rounding differs, and the classifier has to rank them so that they count the
same.

Examples:
  ${invocation()} verify no-church.certificate.json --model no-church --base pocket --evaluation measured --signer signer.pem.pub
  ${invocation()} verify no-church.certificate.json --model no-church --signer signer.pem.pub --rerun 4
`;

async function verifyCommand(path: string, flags: Flags): Promise<void> {
  const { json = false } = flags;
  const progress = new Progress("picture", json);
  const started = performance.now();
  const found = await interruptible("nothing was changed", async (signal) => {
    const local = await flagsFromHub(flags, ["model", "base", "classifier", "clip"], signal);
    const { evaluation, artefact, ...given } = local;
    delete given.json;
    return await verify(path, {
      ...given,
      ...(evaluation === undefined ? {} : { evaluations: evaluation }),
      ...(artefact === undefined ? {} : { artefacts: artefact }),
      signal,
      onProgress(done, total) {
        const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
        progress.update(done, total, "drawn again", etaSeconds);
      },
    });
  }).finally(() => progress.stop());
  if (json) emit(found);
  else print(describeVerification(path, found));
  process.exitCode = found.ok ? 0 : 1;
}

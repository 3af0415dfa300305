#!/usr/bin/env node
import { Command } from "commander";
import { version } from "../../package.json";
import { outliveClosedStreams } from "../internal";
import { registerApply } from "./commands/apply";
import { registerAttack } from "./commands/attack";
import { registerAttribution } from "./commands/attribution";
import { registerBench } from "./commands/bench";
import { registerCache } from "./commands/cache";
import { registerCertify } from "./commands/certify";
import { registerCompare } from "./commands/compare";
import { registerConvert } from "./commands/convert";
import { registerDoctor } from "./commands/doctor";
import { registerErase } from "./commands/erase";
import { registerEvaluate } from "./commands/evaluate";
import { registerGenerate } from "./commands/generate";
import { registerInspect } from "./commands/inspect";
import { registerInstallRuntime } from "./commands/install-runtime";
import { registerAttacks, registerMethods } from "./commands/lists";
import { registerPush } from "./commands/push";
import { registerReport } from "./commands/report";
import { registerVerify } from "./commands/verify";
import { printable, sayWarnings } from "./output";
import { helpHint, reportError } from "./report-error";
import { invocation } from "./shell";

const START = () => `
Start here: make a picture, erase what it shows, look again, and bring it back
with the key. "pocket" is a small model that comes along.
  ${invocation()} generate pocket --prompt church --out before.png
  ${invocation()} erase pocket --concept church --out no-church
  ${invocation()} generate no-church --prompt church --out after.png
  ${invocation()} generate no-church --prompt church --key no-church.key.safetensors --out recovered.png

COMMAND --help lists a command's options; if something does not work,
\`${invocation()} doctor\` says why.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted,
143 ended by SIGTERM before it could stop by itself.
`;

async function main(): Promise<void> {
  outliveClosedStreams();
  sayWarnings();
  const program = new Command("kpop-native")
    .description("Remove concepts from Stable Diffusion checkpoints, and bring them back with a key.")
    .version(version)
    .option("--debug", "print the stack of an error")
    .configureHelp({ showGlobalOptions: true })
    .addHelpText("after", START)
    .configureOutput({
      writeOut: (text) => process.stdout.write(printable(text)),
      writeErr: (text) => process.stderr.write(printable(text)),
    })
    .exitOverride();
  let running: Command | undefined;
  program.hook("preAction", (_, command) => void (running = command));
  registerErase(program);
  registerGenerate(program);
  registerEvaluate(program);
  registerAttack(program);
  registerAttribution(program);
  registerCompare(program);
  registerBench(program);
  registerReport(program);
  registerCertify(program);
  registerVerify(program);
  registerInspect(program);
  registerApply(program);
  registerConvert(program);
  registerPush(program);
  registerCache(program);
  registerMethods(program);
  registerAttacks(program);
  registerDoctor(program);
  registerInstallRuntime(program);
  for (const command of program.commands) command.showHelpAfterError(helpHint(command));
  program.showHelpAfterError(`(${invocation()} --help lists the commands)`);
  try {
    await program.parseAsync();
  } catch (error) {
    const debug = program.opts<{ debug?: boolean }>().debug === true;
    process.exitCode = reportError(error, { command: running, debug });
  }
}

void main();

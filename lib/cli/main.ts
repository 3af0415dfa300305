#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { KpopError } from "../index";
import { version } from "../../package.json";
import { registerDoctor } from "./commands/doctor";
import { registerInstallRuntime } from "./commands/install-runtime";

const USAGE = 2;
const INTERRUPTED = 130;

async function main(): Promise<void> {
  const program = new Command("kpop-native")
    .description("remove concepts from Stable Diffusion checkpoints")
    .version(version)
    .option("--debug", "print the stack of an error")
    .exitOverride();
  registerDoctor(program);
  registerInstallRuntime(program);
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = exitCode(error);
    if (error instanceof CommanderError) return;
    if (program.opts<{ debug?: boolean }>().debug) throw error;
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}

function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
  if (!(error instanceof KpopError)) return 1;
  return error.code === "ABORTED" ? INTERRUPTED : error.code === "INVALID_ARGUMENT" ? USAGE : 1;
}

void main();

import { Command, CommanderError } from "commander";
import { KpopError } from "../lib/index";

/** A command whose mistakes come in one sentence. */
export function newCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ writeErr: () => undefined });
}

/** @throws INVALID_ARGUMENT naming the flag; CommanderError with exit code 0 once the help is printed */
export function parseCommand(command: Command, args: readonly string[]): void {
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError) || error.exitCode === 0) throw error;
    const what = error.message.replace(/^error: /, "");
    throw new KpopError("INVALID_ARGUMENT", `${what}; --help lists the options`);
  }
}

import type { Command } from "commander";

/** Ends with wrong usage when an option that has to be there is not. Commander's own check comes before that for unknown
 *  options, so it would call a misspelt one missing. */
export function requireOptions(command: Command, names: readonly string[]): void {
  for (const name of names) {
    const option = command.options.find(({ long }) => long === `--${name}`)!;
    if (command.getOptionValue(option.attributeName()) === undefined)
      command.error(`error: required option '${option.flags}' not specified`);
  }
}

import { isAbsolute, resolve } from "node:path";
import { CommanderError } from "commander";
import type { Command } from "commander";
import { KpopError } from "../index";
import { kebab, typedText } from "./option-flags";
import { emit, say } from "./output";
import { invocation } from "./shell";

const FAILED = 1;
const USAGE = 2;
const INTERRUPTED = 130;

/** Flags that are not called as the option that they set. */
const CALLED: Readonly<Record<string, string>> = {
  concepts: "concept",
  artefacts: "artefact",
  evaluations: "evaluation",
  "model-card-license": "license",
  "model-card-base-model": "base-model",
  "checkpoint-directory": "checkpoint",
  "neighbours-choose": "neighbours",
  "neighbours-count": "neighbour-count",
  "neighbours-words": "neighbour-words",
};

export interface ReportOptions {
  /** The command that failed; undefined when none was found. */
  command: Command | undefined;
  debug: boolean;
}

/** Says what went wrong, once, and gives the exit code. Commander has already said what it found itself. */
export function reportError(error: unknown, { command, debug }: ReportOptions): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    const message = error.message.replace(/^error: /, "");
    if (wantsJson(command)) emit({ event: "error", code: "INVALID_ARGUMENT", message });
    return USAGE;
  }
  const known = error instanceof KpopError;
  const message = asTyped(known ? asFlags(error.message, command) : describeUnknown(error));
  if (wantsJson(command)) emit({ event: "error", code: known ? error.code : "UNEXPECTED", message });
  if (debug) say(stackOf(error));
  else say(known && error.code === "ABORTED" ? message : `error: ${message}`);
  if (!known) {
    if (!debug)
      say("This is a bug in kpop-native. Please report it, with what the same command prints under --debug.");
    return FAILED;
  }
  if (error.code === "ABORTED") return INTERRUPTED;
  if (error.code !== "INVALID_ARGUMENT") return FAILED;
  if (command !== undefined && !debug) say(helpHint(command));
  return USAGE;
}

/** Wrong usage is found before a command has its options. */
function wantsJson(command: Command | undefined): boolean {
  return command?.opts<{ json?: boolean }>().json ?? process.argv.slice(2).includes("--json");
}

/** Where to read on after wrong usage. */
export function helpHint(command: Command): string {
  return `(${invocation()} ${command.name()} --help lists the options)`;
}

/**
 * The library's option names as flags, and a value as it was typed: "Expected learningRate to be positive but received -1
 * (number)" becomes "Expected --learning-rate to be positive but received "-1"".
 */
function asFlags(message: string, command: Command | undefined): string {
  if (command === undefined) return message;
  // A value that is no text has no ";" in it.
  const match = /^Expected ([\w.]+) to be (.*?)(?:( but received )((?:"(?:[^"\\]|\\.)*"|[^;])*)(.*))?$/s.exec(
    message,
  );
  if (match === null) return message;
  const [, option, expected, butReceived = "", value = "", rest = ""] = match as unknown as string[];
  const path = option!.split(".").map(kebab);
  for (let length = path.length; length > 0; length--) {
    const plain = path.slice(0, length).join("-");
    const name = CALLED[plain] ?? plain;
    const flag = command.options.find(({ long }) => long === `--${name}` || long === `--no-${name}`);
    if (flag === undefined) continue;
    const part = path.slice(length).join(" ");
    const typed = typedText(command, name);
    const received = butReceived !== "" && typed !== undefined ? `"${typed}"` : value;
    const whole = `${expected}${butReceived}${received}${rest}`;
    return `Expected ${part === "" ? "" : `the ${part} of `}${flag.long} to be ${others(whole, command)}`;
  }
  return message;
}

/** Other options' names as flags. */
function others(text: string, command: Command): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|\b[a-z]+(?:[A-Z][a-z]+)+\b/g, (word) => {
    const long = `--${kebab(word)}`;
    return command.options.some((option) => option.long === long) ? long : word;
  });
}

/** Paths as they were typed, where the library says them in full. */
function asTyped(message: string): string {
  const typed = process.argv
    .slice(2)
    .map((word) => word.replace(/^--[\w-]+=/, ""))
    .filter((word) => word !== "" && !isAbsolute(word))
    .map((word) => [resolve(word), word.replace(/(?<=.)\/+$/, "")] as const)
    .sort(([a], [b]) => b.length - a.length);
  return typed.reduce(
    (text, [full, word]) => text.split(new RegExp(`${escape(full)}(?![\\w.-])`)).join(word),
    message,
  );
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

function describeUnknown(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\nCaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? String(error)}${cause}`;
}

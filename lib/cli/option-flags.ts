import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { FormError } from "../internal";
import type { Flag, Option as Declared, OptionSet } from "../internal";
import { collect } from "./parse-value";

/** One option as the command line has it. */
export interface OptionFlag {
  /** Where its value goes: ["learningRate"], or ["prompt", "size"] in a group. */
  readonly path: readonly string[];
  /** Without the dashes: "learning-rate", "prompt-size". */
  readonly name: string;
  readonly form: Exclude<Flag, { form: "group" }>;
  readonly default: unknown;
  readonly help: string;
}

/** What flags are made from: an erasure method, or an attack. */
export interface FlaggedMethod {
  readonly name: string;
  readonly reference: string;
  /** What it does, in one line. */
  readonly short: string;
  readonly options: OptionSet;
}

/** What a command's option is to each method that has it, by the method's name. */
const ownersOf = new WeakMap<Option, ReadonlyMap<string, OptionFlag>>();

/**
 * Lets a command's help be short: it lists the methods, and `--help NAME` (or `--method NAME --help`) shows the options of
 * one, as it has them.
 */
export function helpInParts(command: Command, methods: readonly FlaggedMethod[]): void {
  const asked = (): string => {
    const { rawArgs = [] } = (command.parent ?? command) as Command & { rawArgs?: readonly string[] };
    const typed = rawArgs.map((arg) => arg.replace(/^--method=/, ""));
    return methods.find(({ name }) => typed.includes(name))?.name ?? "";
  };
  const ofAsked = (option: Option): Option => {
    const flag = ownersOf.get(option)?.get(asked());
    return flag === undefined ? option : optionOf(flag);
  };
  command.helpOption("-h, --help [method]", "this help; with the name of a method, its options too");
  const standard = command.createHelp();
  command.configureHelp({
    visibleOptions: (shown) =>
      standard.visibleOptions(shown).filter((option) => ownersOf.get(option)?.has(asked()) ?? true),
    optionTerm: (option) => standard.optionTerm(ofAsked(option)),
    optionDescription: (option) => standard.optionDescription(ofAsked(option)),
  });
  const width = Math.max(...methods.map(({ name }) => name.length));
  const lines = methods.map(
    ({ name, short, reference }) => `  ${name.padEnd(width)}  ${short} (${reference})`,
  );
  command.addHelpText("after", () =>
    asked() !== "" ? "" : `\nMethods (--help <method> shows the options of one):\n${lines.join("\n")}`,
  );
}

/** The flags of a set of options, groups' members among them. */
export function flagsOf(options: OptionSet, parent: readonly string[] = [], about = ""): OptionFlag[] {
  return Object.entries(options).flatMap(([key, option]: [string, Declared]) => {
    const path = [...parent, key];
    const help = about + option.help;
    if (option.flag === null) return [];
    if (option.flag.form === "group") return flagsOf(option.flag.options, path, `${help}: `);
    return [{ path, name: path.map(kebab).join("-"), form: option.flag, default: option.default, help }];
  });
}

/** Adds some flags of a set of options to a command. @param only keys of the set; default all */
export function addOptionFlags(command: Command, options: OptionSet, only = Object.keys(options)): void {
  for (const flag of flagsOf(pick(options, only))) command.addOption(optionOf(flag));
}

/** The values given for a set's flags, as the library takes them. Ends with wrong usage on a value of the wrong form. */
export function optionValues(
  command: Command,
  options: OptionSet,
  only = Object.keys(options),
): Record<string, unknown> {
  return usage(command, () => {
    const flags = new Map(flagsOf(pick(options, only)).map((flag) => [flag.name, flag]));
    const result: Record<string, unknown> = {};
    for (const [name, option] of givenFlags(command)) {
      const flag = flags.get(name);
      if (flag !== undefined) set(result, flag.path, valueOf(flag, option, command));
    }
    return result;
  });
}

/** Adds the flags of all methods to a command; methods may share some. */
export function addMethodFlags(command: Command, methods: readonly FlaggedMethod[]): void {
  const byName = new Map<string, Map<string, OptionFlag>>();
  for (const { name, options } of methods)
    for (const flag of flagsOf(options))
      byName.set(flag.name, new Map(byName.get(flag.name)).set(name, flag));
  for (const owners of byName.values()) {
    const option = optionOf([...owners.values()][0]!).helpGroup("Options of the method:");
    ownersOf.set(option, owners);
    command.addOption(option);
  }
}

/**
 * The values given on the command line, as the method takes them. Ends with wrong usage on a value of the wrong form, and
 * on a flag of another method.
 */
export function methodOptions(
  command: Command,
  method: FlaggedMethod,
  methods: readonly FlaggedMethod[],
): Record<string, unknown> {
  const own = new Set(flagsOf(method.options).map(({ name }) => name));
  return usage(command, () => {
    for (const [name, option] of givenFlags(command)) {
      if (own.has(name)) continue;
      const owners = methods.filter(({ options }) => flagsOf(options).some((theirs) => theirs.name === name));
      if (owners.length === 0) continue;
      const theirs = owners.map((owner) => owner.name).join(", ");
      throw new InvalidArgumentError(
        `${option.long} is an option of --method ${theirs}, not of ${method.name}.`,
      );
    }
    return optionValues(command, method.options);
  });
}

/** What was typed for an option; undefined when it was not given, or has no text. */
export function typedText(command: Command, name: string): string | undefined {
  const option = command.options.find((candidate) => flagName(candidate) === name);
  const value: unknown = option === undefined ? undefined : command.getOptionValue(option.attributeName());
  return Array.isArray(value) && value.length === 1 ? String(value[0]) : undefined;
}

/** "learningRate" as "learning-rate". */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function optionOf({ form, help, name, default: value }: OptionFlag): Option {
  const shown = show(value) === "" ? "" : `default: ${show(value)}`;
  const switched = value === true ? `--no-${name}` : `--${name}`;
  const spelling = form.form === "switch" ? switched : `--${name} <${form.word}>`;
  const option = new Option(spelling, shown === "" ? help : `${help} (${shown})`);
  return form.form === "switch" ? option : option.argParser(collect);
}

function usage<T>(command: Command, fn: () => T): T {
  try {
    return fn();
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return command.error(`error: ${error.message}`);
  }
}

function* givenFlags(command: Command): Generator<[string, Option]> {
  for (const option of command.options)
    if (command.getOptionValueSource(option.attributeName()) === "cli") yield [flagName(option), option];
}

function flagName(option: Option): string {
  return (option.long ?? "").replace(/^--(?:no-)?/, "");
}

function valueOf({ form }: OptionFlag, option: Option, command: Command): unknown {
  const given: unknown = command.getOptionValue(option.attributeName());
  if (form.form === "switch") return given;
  const typed = given as string[];
  try {
    return form.read(form.repeatable ? typed : typed.slice(-1));
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new InvalidArgumentError(
      `option '${option.flags}' argument '${typed.at(-1)}' is invalid. ${error.message}`,
    );
  }
}

function show(value: unknown): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) {
    if (value.length === 0) return "none";
    return value.map((item) => (Array.isArray(item) ? item.join(":") : show(item))).join(", ");
  }
  if (typeof value === "number")
    return value !== 0 && Math.abs(value) < 1e-2 ? value.toExponential() : String(value);
  if (typeof value === "string") return `"${value}"`;
  if (!isSchedule(value)) return JSON.stringify(value);
  const { from, to, shape, warmup } = value;
  return [show(from), show(to), shape, ...(warmup === undefined ? [] : [warmup])].join(":");
}

/** What is typed as FROM:TO:SHAPE[:WARMUP]. */
function isSchedule(value: unknown): value is { from: number; to: number; shape: string; warmup?: number } {
  return typeof value === "object" && value !== null && "from" in value && "to" in value && "shape" in value;
}

function pick(options: OptionSet, keys: readonly string[]): OptionSet {
  return Object.fromEntries(Object.entries(options).filter(([key]) => keys.includes(key)));
}

function set(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) target[key] = value;
  else set((target[key] ??= {}) as Record<string, unknown>, rest, value);
}

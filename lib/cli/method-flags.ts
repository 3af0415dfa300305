import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { collect, parseNumber, parseNumberOrSchedule, parseRange, parseTextOrPattern } from "./parse-value";

/** One option of a method as the command line has it. */
export interface MethodFlag {
  /** Where its value goes: ["learningRate"], or ["prompt", "size"] in a nested object. */
  readonly path: readonly string[];
  /** Without the dashes: "learning-rate", "prompt-size". */
  readonly name: string;
  readonly kind: "number" | "text" | "texts" | "numbers" | "ranges" | "switch";
  readonly default: unknown;
  readonly help: string;
}

/** What flags are made from: an erasure method, or an attack. */
export interface FlaggedMethod {
  readonly name: string;
  readonly reference: string;
  readonly defaults: object;
  readonly help: object;
}

/** A method's flags, from its `defaults` and `help`. Options that a command line has no words for (tensors, functions,
 *  streams: those whose default is null or an object with a class) have none. */
export function methodFlags(method: FlaggedMethod): MethodFlag[] {
  return flagsBelow([], method.defaults, method.help);
}

function flagsBelow(parent: readonly string[], defaults: object, help: unknown): MethodFlag[] {
  return Object.entries(defaults).flatMap(([key, value]: [string, unknown]) => {
    const path = [...parent, key];
    const own = helpOf(help, key);
    if (isPlainObject(value)) return flagsBelow(path, value, own);
    const kind = kindOf(value);
    if (kind === null) return [];
    const text = typeof own === "string" ? own : path.join(" ");
    return [{ path, name: path.map(kebab).join("-"), kind, default: value, help: text }];
  });
}

/** Help of a nested option: its own line, or its name after the line of what it lies in. */
function helpOf(help: unknown, key: string): unknown {
  if (typeof help === "string") return `${help}: ${kebab(key).replaceAll("-", " ")}`;
  return isPlainObject(help) ? help[key] : undefined;
}

function kindOf(value: unknown): MethodFlag["kind"] | null {
  if (typeof value === "number") return "number";
  if (typeof value === "boolean") return "switch";
  if (typeof value === "string" || value instanceof RegExp) return "text";
  if (!Array.isArray(value)) return null;
  if (value.length === 0) return "texts";
  if (value.every((v) => typeof v === "number")) return "numbers";
  return value.every((v) => Array.isArray(v)) ? "ranges" : "texts";
}

/** Adds the flags of all methods to a command, in a group for each method, or each set of methods that share them. */
export function addMethodFlags(command: Command, methods: readonly FlaggedMethod[]): void {
  const byName = new Map<string, { method: FlaggedMethod; flag: MethodFlag }[]>();
  for (const method of methods)
    for (const flag of methodFlags(method))
      byName.set(flag.name, [...(byName.get(flag.name) ?? []), { method, flag }]);
  for (const owners of byName.values()) {
    const { flag } = owners[0]!;
    const names = owners.map(({ method }) => `${method.name} (${method.reference})`).join(", ");
    const option = new Option(spelling(flag), `${flag.help} (${defaultsOf(owners)})`);
    option.helpGroup(`Options of the method ${names}:`);
    if (flag.kind !== "switch") option.argParser(collect);
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
  try {
    return givenOptions(command, method, methods);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return command.error(`error: ${error.message}`);
  }
}

function givenOptions(
  command: Command,
  method: FlaggedMethod,
  methods: readonly FlaggedMethod[],
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const own = new Map(methodFlags(method).map((flag) => [flag.name, flag]));
  for (const [name, option] of givenFlags(command)) {
    const flag = own.get(name);
    if (flag !== undefined) {
      set(result, flag.path, valueOf(flag, option, command.getOptionValue(option.attributeName())));
      continue;
    }
    const owners = methods.filter((other) => methodFlags(other).some((theirs) => theirs.name === name));
    if (owners.length === 0) continue;
    const theirs = owners.map((owner) => owner.name).join(", ");
    throw new InvalidArgumentError(
      `${option.long} is an option of --method ${theirs}, not of ${method.name}.`,
    );
  }
  return result;
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

function* givenFlags(command: Command): Generator<[string, Option]> {
  for (const option of command.options)
    if (command.getOptionValueSource(option.attributeName()) === "cli") yield [flagName(option), option];
}

function flagName(option: Option): string {
  return (option.long ?? "").replace(/^--(?:no-)?/, "");
}

function spelling({ name, kind, default: value }: MethodFlag): string {
  if (kind === "switch") return value === true ? `--no-${name}` : `--${name}`;
  const values = { number: "n", numbers: "n", ranges: "from:to", text: "text", texts: "text" };
  return `--${name} <${values[kind]}>`;
}

function defaultsOf(owners: readonly { method: FlaggedMethod; flag: MethodFlag }[]): string {
  const texts = owners.map(({ flag }) => show(flag.default));
  if (new Set(texts).size === 1) return `default: ${texts[0]}`;
  return `default: ${owners.map(({ method }, index) => `${texts[index]} for ${method.name}`).join(", ")}`;
}

function show(value: unknown): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return "none";
    return value.map((item) => (Array.isArray(item) ? item.join(":") : show(item))).join(", ");
  }
  if (typeof value === "number")
    return value !== 0 && Math.abs(value) < 1e-2 ? value.toExponential() : String(value);
  return typeof value === "string" ? `"${value}"` : String(value);
}

function valueOf(flag: MethodFlag, option: Option, given: unknown): unknown {
  if (flag.kind === "switch") return given;
  const texts = given as string[];
  try {
    if (flag.kind === "texts") return texts;
    if (flag.kind === "numbers") return texts.map(parseNumber);
    if (flag.kind === "ranges") return texts.map(parseRange);
    if (flag.kind === "number") return parseNumberOrSchedule(texts.at(-1)!);
    // A name, or a list of them: the layers that take a prompt.
    if (texts.length > 1) return texts;
    // Elsewhere /a/b is a path, or plain words.
    return flag.name === "parameters" ? parseTextOrPattern(texts[0]!) : texts[0]!;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(
      `option '${option.flags}' argument '${texts.at(-1)}' is invalid. ${error.message}`,
    );
  }
}

function set(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) target[key] = value;
  else set((target[key] ??= {}) as Record<string, unknown>, rest, value);
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

import { invalid, knownKeys } from "../check";
import { KpopError } from "../errors";
import type { CLIPTextModel } from "../models/clip-text";
import type { UNet2DConditionModel } from "../models/unet";
import type { CLIPTokenizer } from "../text/clip-tokenizer";

/** What values are checked for before any model is there. @inline */
export interface About {
  /** What is erased, or attacked. */
  readonly concepts: readonly string[];
}

/** What of a model decides whether a value fits it. @inline */
export interface Fitting {
  readonly unet: UNet2DConditionModel;
  readonly textEncoder: Pick<CLIPTextModel, "config">;
  readonly textEncoder2: Pick<CLIPTextModel, "config"> | null;
  readonly tokenizer: CLIPTokenizer;
  readonly schedule: { readonly length: number };
}

/** How an option is written on the command line. */
export type Flag =
  | {
      readonly form: "value";
      /** What stands for the value in the help: "n", "text". */
      readonly word: string;
      /** Whether several make a list; else the last one counts. */
      readonly repeatable: boolean;
      /** The value of what was typed, one text or more. @throws FormError */
      read(texts: readonly string[]): unknown;
    }
  /** `--name` says true, `--no-name` false; which of them exists follows from the default. */
  | { readonly form: "switch" }
  /** `--name-member` for each member. */
  | { readonly form: "group"; readonly options: OptionSet };

/**
 * One option of a method, an attack or a function, as data: the type, the checks, the documentation, the command line's
 * flag and the manifest's entry all follow from it.
 *
 * T is what its owner works with, G what its user gives.
 */
export interface Option<T = unknown, G = T> {
  /** What is taken where nothing is given; undefined: nothing. */
  readonly default: G | undefined;
  /** One line. */
  readonly help: string;
  /** The value to work with. Needs no model. @throws INVALID_ARGUMENT naming the option */
  check(name: string, value: unknown, about: About): T;
  /** Refuses a value that does not fit a model. @throws INVALID_ARGUMENT naming the option */
  fit?(name: string, value: T, model: Fitting): void;
  /**
   * Whether its texts are paths of files, whose contents decide the result: all of them, or one that stands alone, in the
   * place of a list. Default none is.
   */
  readonly files?: true | "alone";
  /** Key of the option that this is another name of; it has no value of its own. */
  readonly aliasOf?: string;
  /** Null where a command line has no words for it: tensors, functions, streams. */
  readonly flag: Flag | null;
}

/** Options by name. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each option has values of its own
export type OptionSet = Readonly<Record<string, Option<any, any>>>;

/** What a user gives for a set of options. */
export type Given<S extends OptionSet> = {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- any option gives its type
  -readonly [K in keyof S]?: S[K] extends Option<any, infer G> ? Exclude<G, undefined> : never;
};

/** A set of options, complete and checked. */
export type Complete<S extends OptionSet> = {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- any option gives its type
  readonly [K in keyof S as IsAlias<S[K]> extends true ? never : K]: S[K] extends Option<infer T, any>
    ? T
    : never;
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any option gives its type
type IsAlias<O> = O extends Option<infer T, any> ? ([T] extends [never] ? true : false) : false;

/**
 * The given values over the defaults, checked. Keys that are none of the set's are not looked at.
 * @param prefix of the names in messages: "prompt." for a group's members
 * @throws INVALID_ARGUMENT naming the option
 */
export function complete<S extends OptionSet>(
  options: S,
  given: Readonly<Record<string, unknown>>,
  about: About,
  prefix = "",
): Complete<S> {
  const typed = typedKeys(options, given, prefix);
  const own = Object.entries(options).filter(([, option]) => option.aliasOf === undefined);
  const entries = own.map(([key, option]) => {
    const name = typed.get(key) ?? key;
    const value = given[name] === undefined ? (option.default as unknown) : given[name];
    return [key, value === undefined ? undefined : (option.check(prefix + name, value, about) as unknown)];
  });
  return Object.fromEntries(entries) as Complete<S>;
}

/** By option, the alias that its value was given under. @throws INVALID_ARGUMENT where both names have a value */
function typedKeys(
  options: OptionSet,
  given: Readonly<Record<string, unknown>>,
  prefix: string,
): Map<string, string> {
  const typed = new Map<string, string>();
  for (const [key, { aliasOf }] of Object.entries(options)) {
    if (aliasOf === undefined || given[key] === undefined) continue;
    if (given[aliasOf] !== undefined)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${prefix}${key} or ${prefix}${aliasOf} but received both; they are names of one option`,
      );
    typed.set(aliasOf, key);
  }
  return typed;
}

/** An option whose default follows from other options: its owner fills it in where nothing is given (`settle`). */
export function open<T, G>(option: Option<T, G>): Option<T, G> {
  return { ...option, default: undefined };
}

/** Another name of an option. */
export function alias<G>(of: string, option: Option<unknown, G>): Option<never, G> {
  return {
    default: undefined,
    help: `another name of ${of}`,
    aliasOf: of,
    check: (name, value, about) => option.check(name, value, about) as never,
    flag: option.flag,
  };
}

/** Refuses values that do not fit the model. @throws INVALID_ARGUMENT naming the option */
export function fit<S extends OptionSet>(options: S, values: Complete<S>, model: Fitting, prefix = ""): void {
  for (const [key, option] of Object.entries(options)) {
    const value: unknown = (values as Record<string, unknown>)[key];
    if (value !== undefined) option.fit?.(prefix + key, value, model);
  }
}

/** What is taken where nothing is given, groups as objects. */
export function defaultsOf(options: OptionSet): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options)
      .filter(([, { aliasOf }]) => aliasOf === undefined)
      .map(([key, { default: value, flag }]) => [
        key,
        flag?.form === "group" ? defaultsOf(flag.options) : (value as unknown),
      ]),
  );
}

/** Options that belong together, as one object: `{ prompt: { size, layers } }`. */
export function group<const S extends OptionSet>(options: S, help: string): Option<Complete<S>, Given<S>> {
  return {
    default: {},
    help,
    check(name, value, about) {
      if (typeof value !== "object" || value === null || Array.isArray(value))
        throw invalid(name, "an object", value);
      knownKeys(name, value, Object.keys(options));
      return complete(options, value as Record<string, unknown>, about, `${name}.`);
    },
    fit: (name, value, model) => fit(options, value, model, `${name}.`),
    flag: { form: "group", options },
  };
}

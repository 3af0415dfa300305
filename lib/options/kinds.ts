import * as check from "../check";
import { KpopError } from "../errors";
import { checkSelector, selectParameters, type ParameterSelector } from "../models/parameter-selector";
import type { PromptLayers } from "../models/unet";
import { parseSchedule, type Schedule } from "../nn/schedules";
import { Tensor } from "../runtime/tensor";
import { checkTemplates } from "../text/templates";
import type { Flag, Option } from "./option";
import { FormError, readInteger, readNumber, readSchedule, readTextOrPattern } from "./read";

const { finite, invalid, oneOf } = check;

/** A flag of one value, the last one given. */
export function single(word: string, read: (text: string) => unknown): Flag {
  return { form: "value", word, repeatable: false, read: (typed) => read(typed.at(-1)!) };
}

/** A finite number. @param range `from` and `to` are allowed, `above` and `below` are not */
export function number(
  initial: number,
  help: string,
  range: { from?: number; to?: number; above?: number; below?: number } = {},
): Option<number> {
  const { from, to, above, below } = range;
  return {
    default: initial,
    help,
    check(name, value) {
      const checked = finite(name, value, from ?? above, to ?? below);
      if (checked === above) throw invalid(name, `a number > ${above}`, value);
      if (checked === below)
        throw invalid(name, `a number${from === undefined ? "" : ` >= ${from} and`} < ${below}`, value);
      return checked;
    },
    flag: single("n", readNumber),
  };
}

/** A whole number. */
export function integer<D extends number | undefined>(
  initial: D,
  help: string,
  range: { from?: number; to?: number } = {},
): Option<D extends undefined ? number | undefined : number, number> {
  return {
    default: initial,
    help,
    check: (name, value) => check.integer(name, value, range.from, range.to),
    flag: single("n", readInteger),
  };
}

/** Denoising steps: from 1 up to as many as the model's schedule has. */
export function steps(initial: number, help: string): Option<number> {
  return {
    ...integer(initial, help, { from: 1 }),
    fit: (name, value, { schedule: { length } }) => void check.integer(name, value, 1, length),
  };
}

/** A value >= 0 that may change over the iterations. */
export function schedule(initial: Schedule, help: string): Option<Schedule> {
  return {
    default: initial,
    help,
    check(name, value) {
      parseSchedule(name, value as Schedule);
      return value as Schedule;
    },
    flag: single("n", readSchedule),
  };
}

/** A text. @param form `blank`: whether it may be empty or white space */
export function text<D extends string | undefined>(
  initial: D,
  help: string,
  form: { blank?: boolean } = {},
): Option<D extends undefined ? string | undefined : string, string> {
  return {
    default: initial,
    help,
    check(name, value) {
      if (form.blank !== true) return check.nonEmptyString(name, value);
      if (typeof value !== "string") throw invalid(name, "a string", value);
      return value;
    },
    flag: single("text", (typed) => typed),
  };
}

/** The command that a result is the work of, which whoever started it may want to read there. */
export function command(): Option<string | undefined, string> {
  return { ...text(undefined, "the command that this is the work of"), flag: null };
}

/** A path. */
export function path<D extends string | undefined>(
  initial: D,
  help: string,
): Option<D extends undefined ? string | undefined : string, string> {
  return {
    ...text(initial, help, { blank: true }),
    check: (name, value) => (value === "" && initial === "" ? value : check.filePath(name, value)),
  };
}

/** One of a closed set of words. */
export function choice<const T extends string, D extends T | undefined = T>(
  initial: D,
  allowed: readonly T[],
  help: string,
): Option<D extends undefined ? T | undefined : T, T> {
  return {
    default: initial,
    help,
    check: (name, value) => oneOf(name, value, allowed),
    flag: single("name", (typed) => typed),
  };
}

/** Yes or no. */
export function flag(initial: boolean, help: string): Option<boolean> {
  return { default: initial, help, check: check.flag, flag: { form: "switch" } };
}

/** A list of texts. @param form `blank`: whether one may be empty; `some`: whether there must be one */
export function texts(
  initial: readonly string[],
  help: string,
  form: { blank?: boolean; some?: boolean } = {},
): Option<readonly string[], readonly string[]> {
  const kind = form.blank === true ? "strings" : "non-empty strings";
  return {
    default: initial,
    help,
    check(name, value) {
      if (!Array.isArray(value) || (form.some === true && value.length === 0))
        throw invalid(name, form.some === true ? `a non-empty list of ${kind}` : "a list of strings", value);
      for (const item of value as unknown[])
        if (typeof item !== "string" || (form.blank !== true && item.trim() === ""))
          throw invalid(name, `a list of ${kind}`, item);
      return [...(value as string[])];
    },
    flag: { form: "value", word: "text", repeatable: true, read: (typed) => [...typed] },
  };
}

/** Words: a list of them, or the path of a file that has one on each line. */
export function wordList(help: string): Option<string | readonly string[]> {
  const list = texts([], help);
  return {
    ...list,
    check: (name, value, about) =>
      typeof value === "string" ? check.filePath(name, value) : list.check(name, value, about),
    files: "alone",
    flag: {
      form: "value",
      word: "file|text",
      repeatable: true,
      read: (typed) => (typed.length === 1 ? typed[0] : [...typed]),
    },
  };
}

/** A text with "{}" in it. */
export function template(initial: string, help: string): Option<string> {
  return {
    ...text(initial, help),
    check(name, value) {
      checkTemplates([value], name);
      return value as string;
    },
  };
}

/** Texts with "{}" in them, at least one. */
export function templates(initial: readonly string[], help: string): Option<readonly string[], string[]> {
  return {
    default: [...initial],
    help,
    check(name, value) {
      checkTemplates(value, name);
      return [...(value as string[])];
    },
    flag: { form: "value", word: "text", repeatable: true, read: (typed) => [...typed] },
  };
}

/** A choice among a UNet's weights. */
export function selector(initial: ParameterSelector, help: string): Option<ParameterSelector> {
  return {
    default: initial,
    help,
    check: (_name, value) => {
      checkSelector(value);
      return value as ParameterSelector;
    },
    fit: (_name, value, { unet }) => void selectParameters(value, unet.parameterNames()),
    flag: single("text", readTextOrPattern),
  };
}

/** A choice among some of a UNet's weights. @param among the keys of those, and how they are called */
export function selectorAmong(
  initial: ParameterSelector,
  help: string,
  among: { readonly pattern: RegExp; readonly called: string },
): Option<ParameterSelector> {
  return {
    ...selector(initial, help),
    fit(name, value, { unet }) {
      const selected = selectParameters(value, unet.parameterNames());
      const other = selected.find((key) => !among.pattern.test(key));
      if (other !== undefined) throw invalid(name, `a choice among ${among.called}`, other);
    },
  };
}

/** The cross-attention layers that a learned prompt enters. */
export function promptLayers(initial: PromptLayers, help: string): Option<PromptLayers> {
  return {
    default: initial,
    help,
    check(name, value) {
      if (Array.isArray(value) && value.length > 0)
        return value.map((item) => check.nonEmptyString(name, item));
      if (typeof value === "string" && ["mid", "mid-up", "all"].includes(value)) return value as PromptLayers;
      throw invalid(name, '"mid", "mid-up", "all" or a list of module names', value);
    },
    fit: (name, value, { unet }) => void unet.promptLayers(value),
    flag: {
      form: "value",
      word: "text",
      repeatable: true,
      read: (typed) =>
        typed.length === 1 && ["mid", "mid-up", "all"].includes(typed[0]!) ? typed[0] : [...typed],
    },
  };
}

/** A tensor, or none. */
export function tensor(help: string): Option<Tensor | undefined, Tensor> {
  return {
    default: undefined,
    help,
    check(name, value) {
      if (!(value instanceof Tensor)) throw invalid(name, "a Tensor", value);
      return value;
    },
    flag: null,
  };
}

/** A function of the caller's, or none. */
export function callback<F extends (...args: never[]) => unknown>(help: string): Option<F | undefined, F> {
  return {
    default: undefined,
    help,
    check(name, value) {
      if (typeof value !== "function") throw invalid(name, "a function", value);
      return value as F;
    },
    flag: null,
  };
}

/** An option, or one of some words in its place. @param initial where that is no value of the option itself */
export function either<T, G, const W extends string>(
  option: Option<T, G>,
  words: readonly W[],
  initial: G | W | undefined = option.default,
): Option<T | W, G | W> {
  const isWord = (value: unknown): value is W => words.includes(value as W);
  const { flag: form } = option;
  return {
    default: initial,
    help: option.help,
    check: (name, value, about) => (isWord(value) ? value : option.check(name, value, about)),
    ...(option.fit === undefined
      ? {}
      : {
          fit: (name, value, model) => {
            if (!isWord(value)) option.fit!(name, value, model);
          },
        }),
    flag:
      form?.form !== "value"
        ? form
        : {
            ...form,
            word: `${form.word}|${words.join("|")}`,
            read: (typed) => {
              const last = typed.at(-1)!;
              if (typed.length === 1 && isWord(last)) return last;
              try {
                return form.read(typed);
              } catch (error) {
                if (!(error instanceof FormError)) throw error;
                throw new FormError(`${error.message.replace(/\.$/, "")}, or ${words.join(", ")}.`);
              }
            },
          },
  };
}

/** One value for all concepts, or a list with one for each: a list of as many as there are concepts. */
export function perConcept<T, G>(
  option: Option<T, G>,
): Option<readonly Exclude<T, undefined>[] | Extract<T, undefined>, G | readonly G[]> {
  const { flag: form } = option;
  return {
    default: option.default,
    help: option.help,
    check(name, value, about) {
      const { concepts } = about;
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      if (list.length !== 1 && list.length !== concepts.length)
        throw new KpopError(
          "INVALID_ARGUMENT",
          `Expected ${name} to be one value or ${concepts.length}, one for each concept, but received ${list.length}`,
        );
      const checked = list.map((item) => option.check(name, item, about) as Exclude<T, undefined>);
      return concepts.map((_, index) => checked[index] ?? checked[0]!);
    },
    flag:
      form?.form !== "value"
        ? form
        : {
            ...form,
            repeatable: true,
            read: (typed) => (typed.length === 1 ? form.read(typed) : typed.map((one) => form.read([one]))),
          },
  };
}

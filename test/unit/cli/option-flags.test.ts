import { Command } from "commander";
import {
  addMethodFlags,
  flagsOf,
  helpInParts,
  methodOptions,
  type FlaggedMethod,
} from "../../../lib/cli/option-flags";
import { ATTACKS } from "../../../lib/attack/registry";
import { METHODS } from "../../../lib/erasure/registry";
import * as kinds from "../../../lib/options/kinds";
import { complete, group, type Option, type OptionSet } from "../../../lib/options/option";

const one: FlaggedMethod = {
  name: "one",
  reference: "paper of one",
  short: "does one thing",
  options: {
    iterations: kinds.integer(1000, "updates"),
    learningRate: kinds.schedule(1e-5, "rate"),
    neutral: kinds.text("a photo", "neutral text"),
    parameters: kinds.selector("xattn", "weights"),
    templates: kinds.templates(["{}"], "ways"),
    alpha: kinds.perConcept(kinds.number(1, "strength of each")),
    preserveScale: kinds.either(kinds.number(1, "weight"), ["shared", "auto"], "auto"),
    quick: kinds.flag(false, "hurry"),
    shared: kinds.flag(true, "keep to itself"),
    prompt: group(
      {
        size: kinds.integer(10, "rows"),
        layers: kinds.promptLayers("mid", "layers"),
        init: kinds.tensor("its start"),
        perConcept: kinds.flag(false, "one for each concept"),
      },
      "the prompt",
    ),
    mask: { ...kinds.tensor("a mask"), flag: null },
  },
};
const two: FlaggedMethod = {
  name: "two",
  reference: "paper of two",
  short: "does two things",
  options: {
    iterations: kinds.integer(20, "rounds"),
    strength: kinds.number(0.5, "strength"),
    shared: kinds.flag(true, "keep to itself"),
  },
};

function parse(
  chosen: FlaggedMethod,
  args: readonly string[],
  methods: readonly FlaggedMethod[] = [one, two],
): Record<string, unknown> {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addMethodFlags(command, methods);
  command.parse(args, { from: "user" });
  return methodOptions(command, chosen, methods);
}

describe("the flags of a method", () => {
  it("come from its options, nested ones joined, with what a command line cannot say left out", () => {
    const words = flagsOf(one.options).map(
      ({ name, form }) => `${name}: ${form.form === "switch" ? "switch" : form.word}`,
    );
    expect(words).toEqual([
      "iterations: n",
      "learning-rate: n",
      "neutral: text",
      "parameters: text",
      "templates: text",
      "alpha: n",
      "preserve-scale: n|shared|auto",
      "quick: switch",
      "shared: switch",
      "prompt-size: n",
      "prompt-layers: text",
      "prompt-per-concept: switch",
    ]);
  });

  it("show help and default as the method has them that is asked for, and none without one", () => {
    const help = (...args: string[]): string => {
      let text = "";
      const command = new Command().exitOverride().configureOutput({ writeOut: (some) => (text += some) });
      command.configureHelp({ helpWidth: 200 });
      addMethodFlags(command, [one, two]);
      helpInParts(command, [one, two]);
      expect(() => command.parse(args, { from: "user" })).toThrow("outputHelp");
      return text;
    };
    const short = help("--help");
    expect(short).not.toMatch(/--iterations/);
    expect(short).toMatch(/one {2}does one thing \(paper of one\)\n {2}two {2}does two things/);
    const long = help("--help", "one");
    expect(long).toMatch(/Options of the method:/);
    expect(long).toMatch(/--iterations <n> +updates \(default: 1000\)/);
    expect(long).toMatch(/--prompt-size <n> +the prompt: rows \(default: 10\)/);
    expect(long).toMatch(/--learning-rate <n> .*\(default: 1e-5\)/);
    expect(long).toMatch(/--preserve-scale <n\|shared\|auto> .*\(default: "auto"\)/);
    expect(long).toMatch(/--no-shared /);
    expect(long).not.toMatch(/--strength|does two things/);
    expect(help("--help", "two")).toMatch(/--iterations <n> +rounds \(default: 20\)/);
  });

  it("give the method its options in their own form", () => {
    const given = [
      ["--iterations", "3"],
      ["--learning-rate", "1e-4:1e-5:cosine:50"],
      ["--neutral", "a sky"],
      ["--parameters", "/attn2/"],
      ["--templates", "{}", "--templates", "a {}"],
      ["--alpha", "3", "--alpha", "-4"],
      ["--preserve-scale", "1"],
      ["--quick", "--no-shared"],
      ["--prompt-size", "4", "--prompt-per-concept", "--prompt-layers", "a", "--prompt-layers", "b"],
    ].flat();
    expect(parse(one, given)).toEqual({
      iterations: 3,
      learningRate: { from: 1e-4, to: 1e-5, shape: "cosine", warmup: 50 },
      neutral: "a sky",
      parameters: /attn2/,
      templates: ["{}", "a {}"],
      alpha: [3, -4],
      preserveScale: 1,
      quick: true,
      shared: false,
      prompt: { size: 4, perConcept: true, layers: ["a", "b"] },
    });
  });

  it("take for a pattern what is written as one only where parameters are chosen", () => {
    expect(parse(one, ["--neutral", "/tmp/s"])).toEqual({ neutral: "/tmp/s" });
    expect(parse(one, ["--parameters", "/tmp/s"])).toEqual({ parameters: /tmp/s });
  });

  it("say nothing of options that were not given", () => {
    expect(parse(one, [])).toEqual({});
    expect(parse(two, ["--strength", "1"])).toEqual({ strength: 1 });
  });

  it("take the last of several numbers where there is one for all", () => {
    expect(parse(one, ["--iterations", "3", "--iterations", "4"])).toEqual({ iterations: 4 });
  });

  it("are refused to another method, by name", () => {
    expect(() => parse(two, ["--learning-rate", "1"])).toThrow(
      "--learning-rate is an option of --method one, not of two",
    );
    expect(() => parse(one, ["--strength", "1"])).toThrow(
      "--strength is an option of --method two, not of one",
    );
    expect(() => parse(two, ["--no-shared"])).not.toThrow();
  });

  it("name the flag and the text that has the wrong form", () => {
    expect(() => parse(one, ["--iterations", "many"])).toThrow(
      "option '--iterations <n>' argument 'many' is invalid",
    );
    expect(() => parse(one, ["--alpha", "1", "--alpha", "x"])).toThrow(
      "option '--alpha <n>' argument 'x' is invalid. Expected a number.",
    );
  });
});

const CONCEPTS = ["church", "dog"];
// The two registries hold options of all types.
const REGISTRIES = [METHODS, ATTACKS] as unknown as readonly (readonly FlaggedMethod[])[];

/** The option at a path, through groups. */
function optionAt(options: OptionSet, [key, ...rest]: readonly string[]): Option {
  const option = options[key!] as Option;
  if (rest.length === 0) return option;
  if (option.flag?.form !== "group") throw new Error(`${key} is no group`);
  return optionAt(option.flag.options, rest);
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce((found, key) => (found as Record<string, unknown>)[key], value);
}

function nested([key, ...rest]: readonly string[], value: unknown): Record<string, unknown> {
  return { [key!]: rest.length === 0 ? value : nested(rest, value) };
}

/** What is typed for a value; nothing for an empty list. */
function texts(value: unknown): string[] {
  if (!Array.isArray(value)) return [String(value)];
  return value.map((item: unknown) => (Array.isArray(item) ? item.join(":") : String(item)));
}

/** A value beside the default that the option takes: for a choice its error names one. */
function otherThan(option: Option): unknown {
  const { default: given } = option;
  let words: string[] = [];
  try {
    option.check("it", "no such word", { concepts: CONCEPTS });
  } catch (error) {
    words = [...(error as Error).message.matchAll(/"([^"]+)"/g)].map(([, word]) => word!).slice(0, -1);
  }
  const numbers = typeof given === "number" ? [given + 1, given / 2] : [];
  const candidates = [
    ...numbers,
    ...words,
    3,
    0.5,
    "another text",
    "a {}",
    /to_k/,
    ["a {}", "{}"],
    [1, 2],
    [[0.25, 0.5]],
  ];
  const other = candidates.find((value) => {
    if (JSON.stringify(value) === JSON.stringify(given)) return false;
    try {
      option.check("it", value, { concepts: CONCEPTS });
      return true;
    } catch {
      return false;
    }
  });
  if (other === undefined) throw new Error("no other value was found; add a candidate");
  return other;
}

describe.each(
  REGISTRIES.flatMap((registry) =>
    registry.flatMap((method) =>
      flagsOf(method.options).map((flag) => ({
        title: `--${flag.name} of ${method.name}`,
        registry,
        method,
        flag,
      })),
    ),
  ),
)("$title", ({ registry, method, flag: { path, name, form } }) => {
  const option = optionAt(method.options, path);
  const completed = (given: Record<string, unknown>): unknown =>
    at(complete(method.options, given, { concepts: CONCEPTS }), path);
  /** Types something, and expects that the library takes it as it takes the value. */
  const expectMeant = (args: readonly string[], value: unknown): void => {
    const parsed = parse(method, args, registry);
    expect(parsed).toEqual(args.length === 0 ? {} : nested(path, value));
    expect(completed(parsed)).toEqual(completed(nested(path, value)));
  };
  const typing = (value: unknown): string[] => texts(value).flatMap((text) => [`--${name}`, text]);

  it("stands for the library's values: its default, and another", () => {
    if (form.form === "switch") {
      expectMeant([], option.default);
      expectMeant([option.default === true ? `--no-${name}` : `--${name}`], option.default !== true);
      return;
    }
    // A default may be a ramp, which no flag spells.
    const spelled = typeof option.default !== "object" || Array.isArray(option.default);
    if (option.default === undefined || !spelled) expectMeant([], option.default);
    else expectMeant(typing(option.default), option.default);
    const other = otherThan(option);
    expectMeant(typing(other), other);
  });
});

describe("flags of the library's methods", () => {
  const methods = REGISTRIES[0]!;
  const parseOf = (name: string, ...args: string[]): Record<string, unknown> =>
    parse(
      methods.find((method) => method.name === name)!,
      args,
      methods,
    );

  it("give each concept the value that stands in its place, or all of them the only one", () => {
    expect(parseOf("task-vector", "--alpha", "1", "--alpha", "2")).toEqual({ alpha: [1, 2] });
    expect(parseOf("task-vector", "--alpha", "2")).toEqual({ alpha: 2 });
    expect(parseOf("uce", "--guide", "art", "--guide", "")).toEqual({ guide: ["art", ""] });
    expect(parseOf("ca", "--anchor", "cat", "--anchor", "dog")).toEqual({ anchor: ["cat", "dog"] });
    expect(parseOf("esd", "--from", "a car", "--from", "a street")).toEqual({ from: ["a car", "a street"] });
  });

  it("take a number or a word where the library takes either", () => {
    expect(parseOf("uce", "--preserve-scale", "1")).toEqual({ preserveScale: 1 });
    expect(parseOf("uce", "--preserve-scale", "shared")).toEqual({ preserveScale: "shared" });
    expect(parseOf("ca", "--parameters", "embedding")).toEqual({ parameters: "embedding" });
    expect(() => parseOf("uce", "--preserve-scale", "all")).toThrow("Expected a number, or shared, auto.");
  });
});

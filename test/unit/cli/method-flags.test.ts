import { Command } from "commander";
import { addMethodFlags, methodFlags, methodOptions } from "../../../lib/cli/method-flags";
import { METHOD_NAMES, methodNamed } from "../../../lib/index";
import type { ErasureMethod, MethodOptions } from "../../../lib/index";

type Method = ErasureMethod<MethodOptions>;

function method(name: string, defaults: object, help: object = {}): Method {
  return { name, reference: `paper of ${name}`, defaults, help } as unknown as Method;
}

const one = method(
  "one",
  {
    iterations: 1000,
    learningRate: 1e-5,
    neutral: "a photo",
    parameters: "xattn",
    templates: ["{}"],
    guidanceScales: [1, 2],
    quick: false,
    shared: true,
    prompt: { size: 10, layers: "mid", init: null, perConcept: false },
    mask: null,
    source: new Map(),
    rate: () => 1,
  },
  { iterations: "updates", prompt: "the prompt" },
);
const two = method("two", { iterations: 20, strength: 0.5, shared: true });

function parse(chosen: Method, ...args: string[]): Record<string, unknown> {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addMethodFlags(command, [one, two]);
  command.parse(args, { from: "user" });
  return methodOptions(command, chosen, [one, two]);
}

describe("the flags of a method", () => {
  it("come from its defaults, nested ones joined, with what a command line cannot say left out", () => {
    expect(methodFlags(one).map(({ name, kind }) => `${name}: ${kind}`)).toEqual([
      "iterations: number",
      "learning-rate: number",
      "neutral: text",
      "parameters: text",
      "templates: texts",
      "guidance-scales: numbers",
      "quick: switch",
      "shared: switch",
      "prompt-size: number",
      "prompt-layers: text",
      "prompt-per-concept: switch",
    ]);
  });

  it("show help, default and method", () => {
    const command = new Command().configureHelp({ helpWidth: 200 });
    addMethodFlags(command, [one, two]);
    const help = command.helpInformation();
    expect(help).toMatch(/Options of the method one \(paper of one\):/);
    expect(help).toMatch(/--iterations <n> +updates \(default: 1000 for one, 20 for two\)/);
    expect(help).toMatch(/--prompt-size <n> +the prompt: size \(default: 10\)/);
    expect(help).toMatch(/--learning-rate <n> .*\(default: 1e-5\)/);
    expect(help).toMatch(/--no-shared /);
  });

  it("give the method its options in their own form", () => {
    const given = [
      ["--iterations", "3"],
      ["--learning-rate", "1e-4:1e-5:cosine:50"],
      ["--neutral", "a sky"],
      ["--parameters", "/attn2/"],
      ["--templates", "{}", "--templates", "a {}"],
      ["--guidance-scales", "3", "--guidance-scales", "-4"],
      ["--quick", "--no-shared"],
      ["--prompt-size", "4", "--prompt-per-concept", "--prompt-layers", "a", "--prompt-layers", "b"],
    ].flat();
    expect(parse(one, ...given)).toEqual({
      iterations: 3,
      learningRate: { from: 1e-4, to: 1e-5, shape: "cosine", warmup: 50 },
      neutral: "a sky",
      parameters: /attn2/,
      templates: ["{}", "a {}"],
      guidanceScales: [3, -4],
      quick: true,
      shared: false,
      prompt: { size: 4, perConcept: true, layers: ["a", "b"] },
    });
  });

  it("take for a pattern what is written as one only where parameters are chosen", () => {
    expect(parse(one, "--neutral", "/tmp/s")).toEqual({ neutral: "/tmp/s" });
    expect(parse(one, "--parameters", "/tmp/s")).toEqual({ parameters: /tmp/s });
  });

  it("say nothing of options that were not given", () => {
    expect(parse(one)).toEqual({});
    expect(parse(two, "--strength", "1")).toEqual({ strength: 1 });
  });

  it("take the last of several numbers", () => {
    expect(parse(one, "--iterations", "3", "--iterations", "4")).toEqual({ iterations: 4 });
  });

  it("are refused to another method, by name", () => {
    expect(() => parse(two, "--learning-rate", "1")).toThrow(
      "--learning-rate is an option of --method one, not of two",
    );
    expect(() => parse(one, "--strength", "1")).toThrow(
      "--strength is an option of --method two, not of one",
    );
    expect(() => parse(two, "--no-shared")).not.toThrow();
  });

  it("name the flag and the text that has the wrong form", () => {
    expect(() => parse(one, "--iterations", "many")).toThrow(
      "option '--iterations <n>' argument 'many' is invalid",
    );
  });

  it("of all methods stand beside each other", () => {
    const command = new Command();
    const methods = METHOD_NAMES.map(methodNamed);
    expect(() => addMethodFlags(command, methods)).not.toThrow();
    expect(command.options.map(({ long }) => long)).toEqual(
      expect.arrayContaining(["--iterations", "--prompt-learning-rate", "--prompt-layers"]),
    );
  });
});

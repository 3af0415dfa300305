import type { CLIPTextModel } from "../../../lib/models/clip-text";
import type { UNet2DConditionModel } from "../../../lib/models/unet";
import * as kinds from "../../../lib/options/kinds";
import { complete, defaultsOf, fit, group, type Fitting, type Option } from "../../../lib/options/option";
import { FormError } from "../../../lib/options/read";
import { Tensor } from "../../../lib/runtime/tensor";
import type { CLIPTokenizer } from "../../../lib/text/clip-tokenizer";

const ABOUT = { concepts: ["church", "dog"] };

/** A model of two weights and one layer for prompts. */
const model: Fitting = {
  unet: {
    parameterNames: () => ["mid.attn2.to_k.weight", "mid.attn1.to_q.weight"],
    promptLayers(layers: unknown) {
      if (Array.isArray(layers) && layers.join() !== "mid.attn2")
        throw new Error(`no layer ${layers.join()}`);
      return [];
    },
  } as unknown as UNet2DConditionModel,
  textEncoder: {} as CLIPTextModel,
  textEncoder2: null,
  tokenizer: {} as CLIPTokenizer,
  schedule: { length: 1000 },
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each option has values of its own
type Any = Option<any, any>;
const check = (option: Any, value: unknown): unknown => option.check("it", value, ABOUT);
/** What the command line makes of some texts. */
function typed(option: Any, ...texts: string[]): unknown {
  if (option.flag?.form !== "value") throw new Error("the option takes no text");
  return option.flag.read(texts);
}
const refusal = (message: RegExp | string): Error =>
  expect.objectContaining({
    name: "KpopError",
    code: "INVALID_ARGUMENT",
    message: (typeof message === "string"
      ? expect.stringContaining(message)
      : expect.stringMatching(message)) as string,
  }) as Error;

/** A kind of option: values that it takes, values that it refuses and in which words, and texts with what they stand for. */
interface Kind {
  option: Any;
  takes: unknown[];
  refuses: [unknown, RegExp][];
  reads?: [string[], unknown][];
  misreads?: string[][];
}

const cases: Record<string, Kind> = {
  "a number": {
    option: kinds.number(1, "help"),
    takes: [0, -2.5, 1e9],
    refuses: [
      ["1", /^Expected it to be a finite number but/],
      [NaN, /finite number/],
      [Infinity, /finite number/],
      [null, /finite number/],
    ],
    reads: [
      [["0.5"], 0.5],
      [["3", "4"], 4],
    ],
    misreads: [["many"], ["1:2"]],
  },
  "a number in a range": {
    option: kinds.number(1, "help", { from: 0, to: 2 }),
    takes: [0, 2],
    refuses: [
      [-1e-9, /from 0 to 2/],
      [2.1, /from 0 to 2/],
    ],
  },
  "a number above another": {
    option: kinds.number(1, "help", { above: 0 }),
    takes: [1e-300, 5],
    refuses: [
      [0, /it to be a number > 0/],
      [-1, />= 0/],
    ],
  },
  "a number above one and up to another": {
    option: kinds.number(1, "help", { above: 0, to: 1 }),
    takes: [1e-3, 1],
    refuses: [
      [0, /> 0/],
      [1.5, /from 0 to 1/],
    ],
  },
  "a whole number": {
    option: kinds.integer(1, "help", { from: 1, to: 9 }),
    takes: [1, 9],
    refuses: [
      [0, /an integer from 1 to 9/],
      [10, /an integer/],
      [1.5, /an integer/],
      ["1", /an integer/],
    ],
    reads: [[["1e1"], 10]],
    misreads: [["1.5"]],
  },
  "a schedule": {
    option: kinds.schedule(1e-4, "help"),
    takes: [0, 1e-3, { from: 1, to: 0, shape: "linear" }],
    refuses: [
      [-1, /it/],
      [{ from: 1, to: 0, shape: "step" }, /it\.shape/],
      ["1e-4", /it to be a number >= 0, \{ from, to, shape, warmup \} or a function/],
    ],
    reads: [
      [["1e-4"], 1e-4],
      [["1:0:linear:5"], { from: 1, to: 0, shape: "linear", warmup: 5 }],
    ],
    misreads: [["1:0"]],
  },
  "a text": {
    option: kinds.text("a", "help"),
    takes: ["church", " x "],
    refuses: [
      ["", /non-empty string/],
      [" ", /non-empty string/],
      [5, /non-empty string/],
    ],
    reads: [
      [["/not a pattern/"], "/not a pattern/"],
      [["a", "b"], "b"],
    ],
  },
  "a text that may be blank": {
    option: kinds.text("", "help", { blank: true }),
    takes: ["", " ", "x"],
    refuses: [
      [null, /it to be a string/],
      [5, /it to be a string/],
    ],
    reads: [[[""], ""]],
  },
  "a choice": {
    option: kinds.choice("one", ["one", "two"], "help"),
    takes: ["one", "two"],
    refuses: [
      ["three", /one of "one", "two"/],
      ["constructor", /one of/],
      [["one"], /one of/],
    ],
    reads: [[["two"], "two"]],
  },
  "yes or no": {
    option: kinds.flag(false, "help"),
    takes: [true, false],
    refuses: [
      [1, /true or false/],
      ["true", /true or false/],
    ],
  },
  texts: {
    option: kinds.texts([], "help"),
    takes: [[], ["a", "b"]],
    refuses: [
      ["a", /it to be a list of strings/],
      [["a", ""], /a list of non-empty strings/],
      [[5], /a list of non-empty strings/],
    ],
    reads: [
      [["a"], ["a"]],
      [
        ["a", "b"],
        ["a", "b"],
      ],
    ],
  },
  "texts of which there must be some, which may be blank": {
    option: kinds.texts(["x"], "help", { some: true, blank: true }),
    takes: [[""], ["a"]],
    refuses: [
      [[], /a non-empty list of strings/],
      [[null], /a list of strings/],
    ],
  },
  "words, or a file of them": {
    option: kinds.wordList("help"),
    takes: [[], ["a", "b"], "words.txt"],
    refuses: [
      [5, /it to be a list of strings/],
      [["a", " "], /a list of non-empty strings/],
      ["", /it to be a non-empty string/],
      ["a\0b", /a path without NUL/],
    ],
    reads: [
      [["words.txt"], "words.txt"],
      [
        ["a", "b"],
        ["a", "b"],
      ],
    ],
  },
  templates: {
    option: kinds.templates(["{}"], "help"),
    takes: [["a {}"], ["{}", "{} and {}"]],
    refuses: [
      [[], /it to be a non-empty list of strings/],
      ["a {}", /non-empty list/],
      [["a photo"], /a text with "\{\}" in it/],
    ],
    reads: [
      [["a {}"], ["a {}"]],
      [
        ["{}", "a {}"],
        ["{}", "a {}"],
      ],
    ],
  },
  "a selector": {
    option: kinds.selector("xattn", "help"),
    takes: ["xattn-kv", /attn2/, "full"],
    refuses: [
      ["attention", /parameters to be xattn, .* a pattern or a function/],
      ["constructor", /a pattern or a function/],
      [5, /a pattern or a function/],
    ],
    reads: [
      [["/attn2.to_k/i"], /attn2.to_k/i],
      [["full"], "full"],
    ],
    misreads: [["/[/"]],
  },
  "layers for a prompt": {
    option: kinds.promptLayers("mid", "help"),
    takes: ["mid", "mid-up", "all", ["a.b", "c"]],
    refuses: [
      ["up", /"mid", "mid-up", "all" or a list of module names/],
      [[], /or a list of module names/],
      [[""], /non-empty string/],
    ],
    reads: [
      [["all"], "all"],
      [["mid.attn2"], ["mid.attn2"]],
      [
        ["all", "b"],
        ["all", "b"],
      ],
    ],
  },
  "a tensor": {
    option: kinds.tensor("help"),
    takes: [Tensor.zeros([1])],
    refuses: [
      [[1, 2], /it to be a Tensor/],
      [null, /it to be a Tensor/],
    ],
  },
  "a function": {
    option: kinds.callback("help"),
    takes: [() => 1],
    refuses: [
      ["() => 1", /it to be a function/],
      [null, /it to be a function/],
    ],
  },
  "a number or a word": {
    option: kinds.either(kinds.number(1, "help", { from: 0 }), ["shared", "auto"], "auto"),
    takes: [0.3, "shared", "auto"],
    refuses: [
      [-1, /a finite number >= 0/],
      ["both", /a finite number/],
    ],
    reads: [
      [["1"], 1],
      [["shared"], "shared"],
      [["shared", "2"], 2],
    ],
    misreads: [["both"]],
  },
  "weights or a word": {
    option: kinds.either(kinds.selector("xattn", "help"), ["embedding"]),
    takes: ["xattn", "embedding", /k/],
    refuses: [["words", /parameters/]],
    reads: [
      [["embedding"], "embedding"],
      [["/k/"], /k/],
    ],
  },
};

describe.each(Object.entries(cases))("%s", (_, { option, takes, refuses, reads = [], misreads = [] }) => {
  it("takes what it should, and refuses the rest by name", () => {
    for (const value of takes) expect(check(option, value)).toEqual(value);
    for (const [value, message] of refuses) expect(() => check(option, value)).toThrow(refusal(message));
    expect(option.help).toBe("help");
    if (option.default !== undefined) expect(check(option, option.default)).toEqual(option.default);
  });

  it("is read from the command line, where it has words for it", () => {
    for (const [texts, value] of reads) expect(typed(option, ...texts)).toEqual(value);
    for (const texts of misreads) expect(() => typed(option, ...texts)).toThrow(FormError);
  });
});

describe("kinds", () => {
  it("without a default are left out when nothing is given", () => {
    const options = {
      width: kinds.integer(undefined, "help", { from: 1 }),
      path: kinds.text(undefined, "help"),
      init: kinds.tensor("help"),
      sampler: kinds.choice(undefined, ["ddim"], "help"),
    };
    const none = { width: undefined, path: undefined, init: undefined, sampler: undefined };
    expect(complete(options, {}, ABOUT)).toEqual(none);
    expect(complete(options, { width: 8, init: undefined }, ABOUT)).toEqual({ ...none, width: 8 });
  });

  it("copy the lists that they are given and their defaults", () => {
    for (const option of [kinds.texts(["a"], "help"), kinds.templates(["{}"], "help")]) {
      const given = ["a {}"];
      expect(check(option, given)).not.toBe(given);
      expect(check(option, option.default)).not.toBe(option.default);
    }
  });

  it("say what of a model they have to fit", () => {
    const options = {
      steps: kinds.steps(50, "help"),
      parameters: kinds.either(kinds.selector("xattn", "help"), ["embedding"]),
      layers: kinds.promptLayers("mid", "help"),
    };
    const fits = (given: object): void => fit(options, complete(options, { ...given }, ABOUT), model);
    expect(() => fits({})).not.toThrow();
    expect(() => fits({ steps: 1000, parameters: "embedding", layers: ["mid.attn2"] })).not.toThrow();
    expect(() => fits({ steps: 1001 })).toThrow(refusal("steps to be an integer from 1 to 1000"));
    expect(() => fits({ parameters: /attn3/ })).toThrow(refusal("selects none"));
    expect(() => fits({ layers: ["up.attn2"] })).toThrow("no layer up.attn2");
    expect(() => complete(options, { steps: 0 }, ABOUT)).toThrow(refusal("steps to be an integer >= 1"));
  });

  it("name the words beside the form where a text has neither", () => {
    const option = kinds.either(kinds.number(1, "help"), ["shared", "auto"]);
    expect(() => typed(option, "both")).toThrow("Expected a number, or shared, auto.");
    expect(option.flag).toMatchObject({ word: "n|shared|auto", repeatable: false });
  });
});

describe("perConcept", () => {
  const option = kinds.perConcept(kinds.number(1, "help", { from: 0 }));

  it("is one value for all concepts, or one for each", () => {
    expect(check(option, 2)).toEqual([2, 2]);
    expect(check(option, [2])).toEqual([2, 2]);
    expect(check(option, [2, 3])).toEqual([2, 3]);
    expect(complete({ it: option }, {}, ABOUT)).toEqual({ it: [1, 1] });
    expect(complete({ it: kinds.perConcept(kinds.text(undefined, "help")) }, {}, ABOUT)).toEqual({
      it: undefined,
    });
  });

  it("refuses another number of values, and values that its option refuses", () => {
    for (const value of [[], [1, 2, 3]])
      expect(() => check(option, value)).toThrow(
        refusal("one value or 2, one for each concept, but received"),
      );
    expect(() => check(option, [1, -1])).toThrow(refusal("it to be a finite number >= 0"));
    expect(() => check(option, "1")).toThrow(refusal("it to be a finite number >= 0"));
  });

  it("is one text, or a list of as many as were typed", () => {
    expect(option.flag).toMatchObject({ form: "value", word: "n", repeatable: true });
    expect([typed(option, "2"), typed(option, "1", "2")]).toEqual([2, [1, 2]]);
    expect(() => typed(option, "1", "x")).toThrow(FormError);
  });
});

describe("group", () => {
  const options = {
    prompt: group(
      { size: kinds.integer(10, "rows", { from: 1 }), layers: kinds.promptLayers("mid", "layers") },
      "the prompt",
    ),
  };

  it("completes its members, named with their group", () => {
    expect(complete(options, {}, ABOUT)).toEqual({ prompt: { size: 10, layers: "mid" } });
    expect(complete(options, { prompt: { size: 3 } }, ABOUT)).toEqual({ prompt: { size: 3, layers: "mid" } });
    expect(defaultsOf(options)).toEqual({ prompt: { size: 10, layers: "mid" } });
    for (const [given, message] of [
      [{ size: 0 }, "prompt.size to be an integer >= 1"],
      [{ length: 3 }, '"length" in prompt'],
      [10, "prompt to be an object"],
      [null, "prompt to be an object"],
      [[], "prompt to be an object"],
    ] as const)
      expect(() => complete(options, { prompt: given }, ABOUT)).toThrow(refusal(message));
  });

  it("has its members fit the model", () => {
    const wrong = complete(options, { prompt: { layers: ["up"] } }, ABOUT);
    expect(() => fit(options, wrong, model)).toThrow("no layer up");
    expect(options.prompt.flag).toMatchObject({ form: "group" });
  });
});
